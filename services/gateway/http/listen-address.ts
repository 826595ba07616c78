// `--web.listen-address`: `host:port`, `[::1]:9090` or `:9090`.
import { AppError } from '../../lib/core/errors.ts';

const ADDRESS = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]\s]*)):(\d{1,5})$/;

/**
 * @returns host (undefined: all interfaces) and port.
 * @throws AppError `bad_data` when malformed.
 */
export function parseListenAddress(text: string): { host: string | undefined; port: number } {
  const match = ADDRESS.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new AppError(
      'bad_data',
      `flag --web.listen-address: ${JSON.stringify(text)} is not host:port, like 0.0.0.0:9090 or [::1]:9090`,
    );
  }
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? undefined : host, port };
}
