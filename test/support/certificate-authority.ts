// An authority of a test, and certificates that it signs for services: with names, with an end in the past, replaced in place.
import { execFileSync } from 'node:child_process';
import { copyFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findProgram } from './programs.ts';
import { freshFolder } from './tidemark.ts';

/** Paths of the three files of a service. */
export interface ServiceCertificate {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface CertificateRequest {
  /** Subject alternative names, like `DNS:tidemark`. */
  readonly names?: readonly string[];
  /** Days until it ends; negative: it has ended. */
  readonly days?: number;
}

export interface CertificateAuthority {
  /** PEM file. */
  readonly caFile: string;
  /** Files of a service in a folder of their own. */
  issue(request?: CertificateRequest): ServiceCertificate;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: readonly string[]): void {
  execFileSync(findProgram('openssl')!, args, { stdio: 'pipe' });
}

/** Makes its key and certificate. */
export function createCertificateAuthority(name = 'test authority'): CertificateAuthority {
  const folder = freshFolder();
  const [caFile, caKey] = [path.join(folder, 'ca.pem'), path.join(folder, 'ca-key.pem')];
  openssl(
    'req',
    '-x509',
    ...NEW_KEY,
    '-days',
    '30',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    caKey,
    '-out',
    caFile,
  );
  return {
    caFile,
    issue: ({ names = ['IP:127.0.0.1', 'DNS:tidemark'], days = 2 } = {}) => {
      const own = freshFolder();
      const file = (base: string): string => path.join(own, base);
      const [cert, key, ca, request] = [
        file('tls.crt'),
        file('tls.key'),
        file('ca.crt'),
        file('request.pem'),
      ];
      openssl('req', ...NEW_KEY, '-subj', '/CN=service', '-keyout', key, '-out', request);
      writeFileSync(
        file('extensions'),
        `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth,clientAuth\n`,
      );
      const signed = ['-CA', caFile, '-CAkey', caKey, '-CAcreateserial', '-extfile', file('extensions')];
      openssl('x509', '-req', '-in', request, ...signed, '-days', String(days), '-out', cert);
      copyFileSync(caFile, ca);
      return { cert, key, ca };
    },
  };
}

/** Puts another certificate in the place of one in use, file by file as a certificate manager does. */
export function replaceCertificate(inUse: ServiceCertificate, by: ServiceCertificate): void {
  for (const name of ['key', 'cert', 'ca'] as const) {
    copyFileSync(by[name], `${inUse[name]}.new`);
    renameSync(`${inUse[name]}.new`, inUse[name]);
  }
}
