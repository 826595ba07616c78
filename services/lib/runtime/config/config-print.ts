// Whether two pieces of configuration mean the same: a text that differs when anything in them does, secrets included.
// Secrets enter as hashes, so that the text can be kept.
import { createHash } from 'node:crypto';
import { Labels } from '../../model/labels.ts';
import { Secret } from './secret.ts';

/** Equal texts mean equal configuration. */
export function configPrint(value: unknown): string {
  return JSON.stringify(plainOf(value));
}

function plainOf(value: unknown): unknown {
  if (value instanceof Secret) return `secret ${createHash('sha256').update(value.reveal()).digest('hex')}`;
  if (value instanceof Labels) return value.pairs;
  if (value instanceof Map) return [...value].map(([key, each]) => [key, plainOf(each)]);
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plainOf(each)]));
}
