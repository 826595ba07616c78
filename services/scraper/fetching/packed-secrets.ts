// Settings as a message to another thread: secrets are class instances, which lose what they hold on the way.
import { Secret } from '../../lib/runtime/config/secret.ts';

/** In place of a secret. */
interface PackedSecret {
  readonly packedSecret: string;
}

/** A copy of `value` (plain objects, arrays, maps, primitives) that a message can carry. Never logged. */
export function packSecrets(value: unknown): unknown {
  if (value instanceof Secret) return { packedSecret: value.reveal() } satisfies PackedSecret;
  return mapInside(value, packSecrets);
}

/** What packSecrets() was given. */
export function unpackSecrets(value: unknown): unknown {
  if (isPackedSecret(value)) return new Secret(value.packedSecret);
  return mapInside(value, unpackSecrets);
}

function isPackedSecret(value: unknown): value is PackedSecret {
  return typeof value === 'object' && value !== null && 'packedSecret' in value;
}

function mapInside(value: unknown, change: (value: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map(change);
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, change(each)]));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, change(each)]));
}
