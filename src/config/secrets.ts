/**
 * What must not be shown of a value. Where something secret can stand at all, too much is hidden rather than too little:
 * what is shown ends in logs, tickets and chats.
 */

const HIDDEN = '***'

/** URLs without their user information, connection strings without passwords. Other text is left as it is. */
export function hideSecrets(text: string): string {
  return hidePairs(text.replace(/(\w:\/\/)[^/\s]*@/g, (_, scheme: string) => `${scheme}${HIDDEN}@`))
}

/** `password=x`, `sslpassword = 'x y'` (to the end of a quote, however it is escaped), and the same in the query of a URI. */
function hidePairs(text: string): string {
  return text.replace(/((?:ssl)?passwor[dt]\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s\\&]|\\.)+)/gis, `$1${HIDDEN}`)
}
