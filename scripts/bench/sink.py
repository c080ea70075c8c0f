"""An S3 endpoint that takes everything and keeps only what is small: a bucket that costs almost nothing.

usage: sink.py BUCKET [CERTIFICATE KEY]

Prints its URL and serves until its standard input ends. Bodies above KEEP bytes are counted and discarded in the kernel
(MSG_TRUNC), so that not even a copy to user space is paid for them; over TLS they have to be deciphered first. Smaller
ones are kept: tools read their own records again. ETags are consistent, but no digests of what is thrown away.
"""
import hashlib, html, re, socket, ssl, sys, threading, time, urllib.parse
from xml.sax.saxutils import escape

KEEP = 1 << 20
DISCARD = 8 << 20
lock = threading.Lock()
objects, uploads, serial = {}, {}, [0]  # key -> (size, body or None, etag, time)
# With MSG_TRUNC Linux counts the bytes of a TCP stream and writes none of them, so that all connections share one buffer.
scratch = bytearray(DISCARD)


class Refused(Exception):
    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


class Connection:
    def __init__(self, sock, is_tls):
        self.sock, self.is_tls, self.rest = sock, is_tls, b''
        self.buffer = bytearray(1 << 18)

    def more(self):
        got = self.sock.recv(1 << 18)
        if not got:
            raise ConnectionError
        self.rest += got

    def head(self):
        """The head of the next request, or None where the client has gone."""
        while (end := self.rest.find(b'\r\n\r\n')) < 0:
            try:
                self.more()
            except ConnectionError:
                return None
        return self.take(end + 4)[:-4].decode('latin-1')

    def take(self, length):
        while len(self.rest) < length:
            self.more()
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def discard(self, length):
        ready = min(length, len(self.rest))
        self.rest, left = self.rest[ready:], length - ready
        while left > 0:
            if self.is_tls:
                got = self.sock.recv_into(self.buffer, min(left, len(self.buffer)))
            else:
                got = self.sock.recv_into(scratch, min(left, DISCARD), socket.MSG_TRUNC)
            if got == 0:
                raise ConnectionError
            left -= got

    def chunked(self):
        body = b''
        while True:
            while (end := self.rest.find(b'\r\n')) < 0:
                self.more()
            size = int(self.take(end + 2).split(b';')[0], 16)
            body += self.take(size)
            self.take(2)
            if size == 0:
                return body


def unframed(body):
    """The payload of an aws-chunked body, without its sizes and trailers."""
    payload, at = b'', 0
    while True:
        end = body.index(b'\r\n', at)
        size = int(body[at:end].split(b';')[0], 16)
        if size == 0:
            return payload
        payload += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def receive(link, headers):
    """The size of the body, and the body itself where it is small."""
    if headers.get('expect', '').lower() == '100-continue':
        link.sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
    if headers.get('transfer-encoding', '').lower() == 'chunked':
        body = link.chunked()
    else:
        length = int(headers.get('content-length', '0'))
        if length > KEEP:
            link.discard(length)
            return int(headers.get('x-amz-decoded-content-length', length)), None
        body = link.take(length)
    if headers.get('x-amz-content-sha256', '').startswith('STREAMING-'):
        body = unframed(body)
    return len(body), body


def next_serial():
    with lock:
        serial[0] += 1
        return serial[0]


def etag_of(body):
    return f'{next_serial():032x}' if body is None else hashlib.md5(body).hexdigest()


def document(name, content):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'.encode()


def stamp(when):
    return time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(when))


def store(key, headers, size, body, etag):
    with lock:
        if headers.get('if-none-match') == '*' and key in objects:
            raise Refused(412, 'PreconditionFailed')
        objects[key] = (size, body, etag, time.time())


def list_objects(bucket, query):
    prefix, delimiter = query.get('prefix', ''), query.get('delimiter', '')
    after = max(query.get(name, '') for name in ('marker', 'start-after', 'continuation-token'))
    most = int(query.get('max-keys', '1000'))
    with lock:
        found = sorted((key, *value) for key, value in list(objects.items()) if key.startswith(prefix) and key > after)
    rows, groups, last, is_truncated = [], [], '', False
    for key, size, _, etag, when in found:
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        group = key[: cut + len(delimiter)] if cut >= 0 else None
        if group is not None and (group in groups or after.startswith(group)):
            last = key
            continue
        if len(rows) + len(groups) >= most:
            is_truncated = True
            break
        if group is not None:
            groups.append(group)
        else:
            rows.append(
                f'<Contents><Key>{escape(key)}</Key><LastModified>{stamp(when)}</LastModified>'
                f'<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
            )
        last = key
    fields = (
        f'<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows) + len(groups)}</KeyCount>'
        f'<MaxKeys>{most}</MaxKeys><IsTruncated>{str(is_truncated).lower()}</IsTruncated>'
    )
    if is_truncated:
        fields += f'<NextContinuationToken>{escape(last)}</NextContinuationToken><NextMarker>{escape(last)}</NextMarker>'
    prefixes = ''.join(f'<CommonPrefixes><Prefix>{escape(group)}</Prefix></CommonPrefixes>' for group in groups)
    return 200, {}, document('ListBucketResult', fields + ''.join(rows) + prefixes)


def list_uploads(bucket, query):
    with lock:
        rows = [
            f'<Upload><Key>{escape(upload["key"])}</Key><UploadId>{identity}</UploadId><Initiated>{stamp(upload["time"])}</Initiated></Upload>'
            for identity, upload in uploads.items()
            if upload['key'].startswith(query.get('prefix', ''))
        ]
    fields = f'<Bucket>{bucket}</Bucket><IsTruncated>false</IsTruncated>' + ''.join(rows)
    return 200, {}, document('ListMultipartUploadsResult', fields)


def find(key):
    with lock:
        found = objects.get(key)
    if found is None:
        raise Refused(404, 'NoSuchKey')
    size, body, etag, when = found
    modified = time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(when))
    return size, body, {'ETag': f'"{etag}"', 'Last-Modified': modified, 'Accept-Ranges': 'bytes'}


def get(key, headers):
    size, body, about = find(key)
    if body is None:
        raise Refused(410, 'DiscardedBySink')
    wanted = re.fullmatch(r'bytes=(\d*)-(\d*)', headers.get('range', ''))
    if wanted is None:
        return 200, about, body
    first, last = wanted.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size:
        raise Refused(416, 'InvalidRange')
    return 206, {**about, 'Content-Range': f'bytes {start}-{stop - 1}/{size}'}, body[start:stop]


def put(key, query, headers, link):
    size, body = receive(link, headers)
    etag = etag_of(body)
    if 'uploadId' in query:
        with lock:
            upload = uploads.get(query['uploadId'])
            if upload is None:
                raise Refused(404, 'NoSuchUpload')
            upload['parts'][int(query['partNumber'])] = (size, body, etag)
    else:
        store(key, headers, size, body, etag)
    checksums = {name: value for name, value in headers.items() if re.fullmatch(r'x-amz-checksum-(crc|sha)\w+', name)}
    return 200, {'ETag': f'"{etag}"', **checksums}, b''


def complete(bucket, key, query, headers, text):
    with lock:
        upload = uploads.get(query.get('uploadId', ''))
    if upload is None:
        raise Refused(404, 'NoSuchUpload')
    numbers = [int(number) for number in re.findall(r'<PartNumber>(\d+)</PartNumber>', text)]
    tags = [html.unescape(tag).strip('"') for tag in re.findall(r'<ETag>(.*?)</ETag>', text)]
    parts = [upload['parts'].get(number) for number in numbers]
    if not parts or any(part is None or part[2] != tag for part, tag in zip(parts, tags)):
        raise Refused(400, 'InvalidPart')
    kept = b''.join(part[1] for part in parts) if all(part[1] is not None for part in parts) else None
    etag = hashlib.md5(b''.join(bytes.fromhex(part[2]) for part in parts)).hexdigest() + f'-{len(parts)}'
    store(key, headers, sum(part[0] for part in parts), kept, etag)
    with lock:
        uploads.pop(query['uploadId'], None)
    fields = f'<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag>'
    return 200, {}, document('CompleteMultipartUploadResult', fields)


def post(bucket, key, query, headers, link):
    _, body = receive(link, headers)
    text = (body or b'').decode()
    if 'delete' in query:
        named = re.findall(r'<Key>(.*?)</Key>', text, re.S)
        with lock:
            for name in named:
                objects.pop(html.unescape(name), None)
        return 200, {}, document('DeleteResult', ''.join(f'<Deleted><Key>{name}</Key></Deleted>' for name in named))
    if 'uploads' in query:
        identity = f'upload-{next_serial()}'
        with lock:
            uploads[identity] = {'key': key, 'parts': {}, 'time': time.time()}
        fields = f'<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{identity}</UploadId>'
        return 200, {}, document('InitiateMultipartUploadResult', fields)
    return complete(bucket, key, query, headers, text)


def delete(key, query):
    with lock:
        if 'uploadId' in query:
            uploads.pop(query['uploadId'], None)
        else:
            objects.pop(key, None)
    return 204, {}, b''


def head(key):
    if not key:
        return 200, {}, b''
    size, _, about = find(key)
    return 200, {**about, 'Content-Length': str(size)}, b''


def answer(method, target, headers, link):
    path, _, tail = target.partition('?')
    _, bucket, key = (urllib.parse.unquote(path).split('/', 2) + [''])[:3]
    query = dict(urllib.parse.parse_qsl(tail, keep_blank_values=True))
    if method == 'PUT' and key:
        return put(key, query, headers, link)
    if method == 'POST':
        return post(bucket, key, query, headers, link)
    if method == 'DELETE':
        return delete(key, query)
    if method == 'HEAD':
        return head(key)
    if method != 'GET' or set(query) & {'versioning', 'object-lock', 'versions', 'policy', 'acl'}:
        raise Refused(501, 'NotImplemented')
    if key:
        return get(key, headers)
    if 'uploads' in query:
        return list_uploads(bucket, query)
    if 'location' in query:
        return 200, {}, document('LocationConstraint', '')
    return list_objects(bucket, query)


def serve(sock, context):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        link = Connection(sock, context is not None)
        while (text := link.head()) is not None:
            first, *lines = text.split('\r\n')
            method, target, _ = first.split(' ')
            pairs = (line.partition(':') for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            try:
                status, about, body = answer(method, target, headers, link)
            except Refused as refused:
                status, about = refused.status, {}
                body = b'' if method == 'HEAD' else document('Error', f'<Code>{refused.code}</Code><Message>{refused.code}</Message>')
            about = {'Content-Length': str(len(body)), 'Content-Type': 'application/xml', **about}
            fields = ''.join(f'{name}: {value}\r\n' for name, value in about.items())
            sock.sendall(f'HTTP/1.1 {status} S3\r\nx-amz-request-id: sink\r\n{fields}\r\n'.encode('latin-1') + body)
    except (ConnectionError, ssl.SSLError, TimeoutError):
        pass  # the client is gone, and with it everybody who could be told
    finally:
        sock.close()


def main():
    context = None
    if len(sys.argv) > 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    server = socket.create_server(('127.0.0.1', 0), backlog=256)
    scheme, host = ('https', 'localhost') if context else ('http', '127.0.0.1')
    print(f'{scheme}://{host}:{server.getsockname()[1]}', flush=True)

    def accept():
        while True:
            sock, _ = server.accept()
            threading.Thread(target=serve, args=(sock, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.buffer.read()


main()
