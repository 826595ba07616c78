// Remote-write 1.0 bodies for tests, written straight from the protobuf and snappy format descriptions and sharing no code
// with the decoders under test. Snappy allows a block of literals only.

/** One series with its samples: `[Unix ms, value]`. */
export interface WrittenSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly samples: readonly (readonly [number, number])[];
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  if (rest < 0n) rest += 1n << 64n;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

function lengthDelimited(field: number, body: Uint8Array): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
}

function sample(timeMs: number, value: number): Buffer {
  const double = Buffer.alloc(8);
  double.writeDoubleLE(value);
  return Buffer.concat([Buffer.from([0x09]), double, Buffer.from([0x10]), varint(timeMs)]);
}

/** A `prometheus.WriteRequest`. */
export function encodeWriteRequest(series: readonly WrittenSeries[]): Buffer {
  return Buffer.concat(
    series.map(({ labels, samples }) => {
      const names = Object.keys(labels).sort();
      const parts = names.map((name) =>
        lengthDelimited(
          1,
          Buffer.concat([
            lengthDelimited(1, Buffer.from(name)),
            lengthDelimited(2, Buffer.from(labels[name]!)),
          ]),
        ),
      );
      for (const [timeMs, value] of samples) parts.push(lengthDelimited(2, sample(timeMs, value)));
      return lengthDelimited(1, Buffer.concat(parts));
    }),
  );
}

/** A snappy block of literals, at most 64 KiB each. */
export function snappyLiterals(body: Uint8Array): Buffer {
  const pieces: Buffer[] = [varint(body.length)];
  for (let at = 0; at < body.length; at += 65_536) {
    const piece = Buffer.from(body.subarray(at, at + 65_536));
    const length = piece.length - 1;
    pieces.push(Buffer.from([61 << 2, length & 255, length >> 8]), piece);
  }
  return Buffer.concat(pieces);
}

/** Posts a body as a Prometheus sender does; the HTTP status and the text of the answer. */
export async function postWrite(
  base: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(`${base}/api/v1/write`, {
    method: 'POST',
    body: Buffer.from(body),
    headers: {
      'content-type': 'application/x-protobuf',
      'content-encoding': 'snappy',
      'x-prometheus-remote-write-version': '0.1.0',
      ...headers,
    },
  });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

/** Posts as a sender that keeps to the contract: 503 is tried again, for `timeoutMs` at most. The status of the last answer. */
export async function sendWrite(base: string, body: Uint8Array, timeoutMs = 20_000): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const { status } = await postWrite(base, body);
    if (status !== 503 || performance.now() > deadline) return status;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
