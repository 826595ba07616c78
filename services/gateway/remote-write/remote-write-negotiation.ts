// What a remote write request says about its body: protocol version and compression, from the headers alone.
import type { IncomingHttpHeaders } from 'node:http';
import type { RemoteWriteVersion } from '../../lib/wire/remote-write/remote-write-decoder.ts';

const MEDIA_TYPE = 'application/x-protobuf';

const VERSIONS: Readonly<Record<string, RemoteWriteVersion>> = {
  'prometheus.WriteRequest': 1,
  'io.prometheus.write.v2.Request': 2,
};

/** How a body is compressed. */
export type RemoteWriteCompression = 'snappy' | 'zstd';

/** What is said to whoever sends something else. */
const SUPPORTED = `supported: Content-Type ${MEDIA_TYPE} with proto=${Object.keys(VERSIONS).join(' or proto=')}, Content-Encoding snappy or zstd`;

export type Negotiation =
  | { readonly version: RemoteWriteVersion; readonly compression: RemoteWriteCompression }
  /** To be answered with 415. */
  | { readonly refusal: string };

/**
 * Chooses the decoder. As in Prometheus' own receiver, no Content-Type means 1.0 and no Content-Encoding means snappy.
 */
export function negotiate(headers: IncomingHttpHeaders): Negotiation {
  const encoding = (headers['content-encoding'] ?? '').trim().toLowerCase();
  const compression = encoding === '' ? 'snappy' : encoding;
  if (compression !== 'snappy' && compression !== 'zstd') {
    return { refusal: `Content-Encoding ${JSON.stringify(encoding)} is not supported; ${SUPPORTED}` };
  }
  const contentType = headers['content-type'] ?? '';
  const [mediaType = '', ...parameters] = contentType.split(';').map((part) => part.trim());
  if (mediaType === '' && parameters.length === 0) return { version: 1, compression };
  const refusal = { refusal: `Content-Type ${JSON.stringify(contentType)} is not supported; ${SUPPORTED}` };
  if (mediaType.toLowerCase() !== MEDIA_TYPE) return refusal;
  let version: RemoteWriteVersion | undefined = 1;
  for (const parameter of parameters) {
    const equals = parameter.indexOf('=');
    if (parameter.slice(0, equals).trim().toLowerCase() !== 'proto') continue;
    const proto = unquote(parameter.slice(equals + 1).trim());
    version = Object.hasOwn(VERSIONS, proto) ? VERSIONS[proto] : undefined;
  }
  return version === undefined ? refusal : { version, compression };
}

/** `negotiate` for senders that say the same each time. */
export class Negotiator {
  #contentType: string | undefined;
  #encoding: string | undefined;
  #last: Negotiation | undefined;

  negotiate(headers: IncomingHttpHeaders): Negotiation {
    const contentType = headers['content-type'];
    const encoding = headers['content-encoding'];
    if (this.#last !== undefined && contentType === this.#contentType && encoding === this.#encoding)
      return this.#last;
    this.#contentType = contentType;
    this.#encoding = encoding;
    this.#last = negotiate(headers);
    return this.#last;
  }
}

function unquote(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}
