// The three PEM files of mutual TLS between services: read, bounded and checked as a set. A certificate manager replaces them one
// after another, so a set that does not fit together is an error that the caller tries again, never something half used.
import { createHash, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { AppError } from '../../core/errors.ts';

/** Paths of PEM files. */
export interface TlsFilePaths {
  /** Certificate of this process, with those between it and the authority. */
  readonly cert: string;
  readonly key: string;
  /** Authorities whose certificates other services may show; several while authorities change. */
  readonly ca: string;
}

/** What the files held when they were read, checked. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** For connections that begin from now on. */
  readonly context: SecureContext;
  /** When the own certificate ends, Unix milliseconds. */
  readonly certEndsMs: number;
  /** When the first of the authorities ends, Unix milliseconds. */
  readonly caEndsMs: number;
  /** Of all three; equal means that nothing has changed. */
  readonly digest: string;
}

/** A chain of three certificates takes 6 KB, the authorities of a whole operating system 230 KB. */
const FILE_BYTES_MAX = 1 << 20;
const CERTIFICATES_MAX = 1_000;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Services speak to services alone, so there is no older client to be kind to. */
export const TLS_VERSION_MIN = 'TLSv1.3';

/**
 * Reads and checks the files.
 *
 * @throws AppError `bad_data` naming the flag, the file and what is wrong: unreadable, no certificate, a key of another certificate,
 *   a certificate that has ended.
 */
export async function readTlsFiles(paths: TlsFilePaths, nowMs: number): Promise<TlsMaterial> {
  const cert = await readPem('cluster.tls-cert-file', paths.cert);
  const key = await readPem('cluster.tls-key-file', paths.key);
  const ca = await readPem('cluster.tls-ca-file', paths.ca);
  const [own] = certificatesOf('cluster.tls-cert-file', paths.cert, cert);
  const authorities = certificatesOf('cluster.tls-ca-file', paths.ca, ca);
  const certEndsMs = own!.validToDate.getTime();
  if (certEndsMs <= nowMs) {
    throw bad('cluster.tls-cert-file', paths.cert, `the certificate ended at ${isoOf(certEndsMs)}: renew it`);
  }
  return {
    ...{ cert, key, ca, certEndsMs },
    context: contextOf(paths, { cert, key, ca }),
    caEndsMs: Math.min(...authorities.map((one) => one.validToDate.getTime())),
    digest: createHash('sha256').update(cert).update('\0').update(key).update('\0').update(ca).digest('hex'),
  };
}

/** Throws when key and certificate do not belong together. */
function contextOf(paths: TlsFilePaths, pem: { cert: string; key: string; ca: string }): SecureContext {
  try {
    return createSecureContext({ ...pem, minVersion: TLS_VERSION_MIN });
  } catch (cause) {
    throw bad(
      'cluster.tls-key-file',
      paths.key,
      `no key of the certificate in ${paths.cert}: ${reasonOf(cause)}`,
    );
  }
}

function certificatesOf(flag: string, file: string, pem: string): readonly X509Certificate[] {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0)
    throw bad(flag, file, 'there is no certificate in it (-----BEGIN CERTIFICATE-----)');
  if (blocks.length > CERTIFICATES_MAX) throw bad(flag, file, `more than ${CERTIFICATES_MAX} certificates`);
  return blocks.map((block, i) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw bad(flag, file, `certificate ${i + 1} cannot be read: ${reasonOf(cause)}`);
    }
  });
}

async function readPem(flag: string, file: string): Promise<string> {
  const buffer = Buffer.allocUnsafe(FILE_BYTES_MAX + 1);
  try {
    await using handle = await open(file, 'r');
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) return buffer.toString('latin1', 0, length);
      length += bytesRead;
      if (length > FILE_BYTES_MAX) throw new Error(`more than ${FILE_BYTES_MAX} bytes`);
    }
  } catch (cause) {
    throw bad(flag, file, reasonOf(cause));
  }
}

const bad = (flag: string, file: string, reason: string): AppError =>
  new AppError('bad_data', `flag --${flag}: ${file}: ${reason}`);

const reasonOf = (caught: unknown): string => (caught instanceof Error ? caught.message : String(caught));

const isoOf = (unixMs: number): string => new Date(unixMs).toISOString();
