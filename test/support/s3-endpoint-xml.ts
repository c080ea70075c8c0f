/** The little XML that S3 speaks. */

function escapeXml(text: string): string {
  return text.replace(/[&<>"\r]/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** `<name>` around text or around elements; undefined values are left out. */
export function element(name: string, content: string | number | boolean | string[] | undefined): string {
  if (content === undefined) return ''
  return `<${name}>${Array.isArray(content) ? content.join('') : escapeXml(String(content))}</${name}>`
}

export function xmlDocument(name: string, content: string[]): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content.join('')}</${name}>`
}

export function errorDocument(code: string, requestId: string): string {
  const content = element('Code', code) + element('Message', `the test endpoint answers ${code}`)
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${content}${element('RequestId', requestId)}</Error>`
}

/** The contents of every `<name>` in a document; elements of one name are never nested in those we read. */
export function contentsOf(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, 'g'))].map(([, content = '']) => content)
}

export function unescapeXml(text: string): string {
  const named: Record<string, string> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }
  return text.replace(/&(#x?)?([0-9a-zA-Z]+);/g, (whole, isNumber: string | undefined, name: string) => {
    if (isNumber === undefined) return named[name] ?? whole
    return String.fromCodePoint(Number.parseInt(name, isNumber === '#x' ? 16 : 10))
  })
}
