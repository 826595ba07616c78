// A DNS server for tests: real UDP packets, answers by name and type.
import { createSocket } from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

const TYPES = { A: 1, NS: 2, CNAME: 5, MX: 15, AAAA: 28, SRV: 33 } as const;
const RCODE_NXDOMAIN = 3;

export interface DnsRecord {
  readonly type: keyof typeof TYPES;
  /** A, AAAA: the address in bytes; SRV: priority weight port target; MX: preference target; NS, CNAME: target. */
  readonly value: string;
}

export interface DnsServer {
  /** `127.0.0.1:port`. */
  readonly address: string;
  /** By name, lower case without the last dot; a name that is not here does not exist. */
  readonly zone: Map<string, readonly DnsRecord[]>;
  /** Names asked for, in order. */
  readonly asked: string[];
  /** Response code instead of an answer: 2 is SERVFAIL. */
  failure: number;
}

export async function startDnsServer(): Promise<DnsServer> {
  const socket = createSocket('udp4');
  const server: DnsServer = { address: '', zone: new Map(), asked: [], failure: 0 };
  socket.on('message', (query, from) => socket.send(answer(query, server), from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  return Object.assign(server, { address: `127.0.0.1:${(socket.address() as AddressInfo).port}` });
}

function answer(query: Buffer, server: DnsServer): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = query.readUInt16BE(at + 1);
  const question = query.subarray(12, at + 5);
  const name = labels.join('.').toLowerCase();
  server.asked.push(name);
  const records = server.zone.get(name);
  const matching = (records ?? []).filter((record) => TYPES[record.type] === type || record.type === 'CNAME');
  const rcode = server.failure || (records === undefined ? RCODE_NXDOMAIN : 0);
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8580 | rcode, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(rcode === 0 ? matching.length : 0, 6);
  return Buffer.concat([header, question, ...(rcode === 0 ? matching.map((record) => encode(record)) : [])]);
}

/** The name is a pointer to the question's. */
function encode(record: DnsRecord): Buffer {
  const data = dataOf(record);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(TYPES[record.type], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(1, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function dataOf({ type, value }: DnsRecord): Buffer {
  const parts = value.split(' ');
  const target = (): Buffer => nameBytes(parts.at(-1)!);
  if (type === 'A') return Buffer.from(value.split('.').map(Number));
  if (type === 'AAAA') return Buffer.from(value, 'hex');
  const numbers = Buffer.alloc((parts.length - 1) * 2);
  for (const [i, part] of parts.slice(0, -1).entries()) numbers.writeUInt16BE(Number(part), i * 2);
  return Buffer.concat([numbers, target()]);
}

function nameBytes(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0]),
  ]);
}
