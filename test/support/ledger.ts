// Numbered samples with a ledger: a writer that remembers what was acknowledged, and the check after a disaster. Request n of a
// writer holds one sample of each of its series; time and value follow from n, so that what comes back says what it should be.
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { decodeLabels, encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { SampleColumns } from '../../services/lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../../services/lib/model/tenant.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import { draftAppendBatch, putDefinition } from '../../services/lib/wire/append/append-batch.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type IngesterDefinition,
  type StoreDefinition,
} from '../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../services/lib/wire/matchers.ts';

export const LEDGER_START_MS = 1_700_000_000_000;
export const LEDGER_METRIC = 'ledger';
const STEP_MS = 1000;

/** What one writer sent: numbers 0 … sent - 1, of which some are acknowledged. */
export interface Ledger {
  readonly writer: string;
  readonly series: number;
  readonly acknowledged: number[];
  sent: number;
}

export function newLedger(writer: string, series: number): Ledger {
  return { writer, series, acknowledged: [], sent: 0 };
}

const valueAt = (number: number, series: number): number => number + series / 1024;

/** One append stream of an ingester, one request at a time. */
export class LedgerWriter {
  readonly ledger: Ledger;
  readonly #streamName: string;
  readonly #requests: AppendRequest[] = [];
  readonly #responses: AsyncIterator<{ readonly outcome: AppendOutcome }>;
  #wake: (() => void) | undefined;
  #sequence = 0;

  /** @param ledger  May be of an earlier stream: its numbers go on. */
  constructor(client: Client<typeof IngesterDefinition>, ledger: Ledger, streamName: string) {
    this.ledger = ledger;
    this.#streamName = streamName;
    const responses = client.append(this.#queue(), { signal: new AbortController().signal });
    this.#responses = responses[Symbol.asyncIterator]();
  }

  /** Sends the next number; true when it is durable, which the ledger knows then. Rejects when the stream ends. */
  async send(): Promise<boolean> {
    const number = this.ledger.sent++;
    this.#requests.push(this.#request(number));
    this.#wake?.();
    const { value, done } = await this.#responses.next();
    if (done === true) throw new Error('the stream ended');
    const isDurable = value.outcome === AppendOutcome.APPEND_OUTCOME_DURABLE;
    if (isDurable) this.ledger.acknowledged.push(number);
    return isDurable;
  }

  async *#queue(): AsyncGenerator<AppendRequest> {
    for (;;) {
      const next = this.#requests.shift();
      if (next !== undefined) yield next;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  #request(number: number): AppendRequest {
    const { series, writer } = this.ledger;
    const sequence = ++this.#sequence;
    const definitions = new ByteWriter();
    for (let i = 0; sequence === 1 && i < series; i++) {
      const labels = new ByteWriter();
      encodeLabels(
        Labels.from([
          ['__name__', LEDGER_METRIC],
          ['series', `${i}`],
          ['writer', writer],
        ]),
        labels,
      );
      putDefinition(definitions, i, 0, labels.bytes, 0, labels.length);
    }
    const draft = draftAppendBatch(
      [{ partition: 0, samples: series }],
      series,
      sequence === 1 ? series : 0,
      definitions.bytes,
      definitions.length,
    );
    for (let i = 0; i < series; i++) {
      draft.references[i] = i;
      draft.values[i] = valueAt(number, i);
    }
    draft.timestampsMs.fill(LEDGER_START_MS + number * STEP_MS);
    return {
      tenant: DEFAULT_TENANT,
      writerId: this.#streamName,
      sequence,
      epoch: 0,
      batch: draft.bytes,
      metadata: [],
    };
  }
}

/** `writer/series` → time → value. */
export type LedgerContent = Map<string, Map<number, number>>;

/** Adds what an ingester or a store answers. */
export async function collectLedger(
  client: Pick<Client<typeof IngesterDefinition>, 'select'> | Pick<Client<typeof StoreDefinition>, 'select'>,
  content: LedgerContent,
): Promise<void> {
  const request = {
    tenant: DEFAULT_TENANT,
    matchers: toWireMatchers([{ name: '__name__', operator: '=', value: LEDGER_METRIC }]),
    minTimeMs: 0,
    maxTimeMs: 1e15,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
  };
  const columns = new SampleColumns();
  let current = new Map<number, number>();
  for await (const { frame } of client.select(request, { signal: new AbortController().signal })) {
    if (frame.length === 0) continue;
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        const labels = decodeLabels(bytes, start, end);
        const key = `${labels.get('writer')}/${labels.get('series')}`;
        current = content.get(key) ?? new Map<number, number>();
        content.set(key, current);
      },
      chunk: (encoding, _first, _last, bytes, start, end) => {
        columns.count = 0;
        decodeChunk(encoding, bytes, start, end, columns);
        for (let i = 0; i < columns.count; i++) current.set(columns.timestampsMs[i]!, columns.values[i]!);
      },
    });
  }
}

export interface LedgerCheck {
  /** Acknowledged samples that are not there. */
  readonly lost: string[];
  /** Samples that nobody sent, or with another value. */
  readonly wrong: string[];
  /** Acknowledged samples looked at. */
  readonly checked: number;
}

/** Compares what is there with what was sent. Unacknowledged samples may be there. */
export function checkLedgers(ledgers: readonly Ledger[], content: LedgerContent): LedgerCheck {
  const check: LedgerCheck = { lost: [], wrong: [], checked: 0 };
  let checked = 0;
  for (const { writer, series, acknowledged, sent } of ledgers) {
    for (let i = 0; i < series; i++) {
      const key = `${writer}/${i}`;
      const held = content.get(key) ?? new Map<number, number>();
      for (const number of acknowledged) {
        checked++;
        if (!held.has(LEDGER_START_MS + number * STEP_MS)) check.lost.push(`${key} number ${number}`);
      }
      for (const [timeMs, value] of held) {
        const number = (timeMs - LEDGER_START_MS) / STEP_MS;
        const isSent = Number.isInteger(number) && number >= 0 && number < sent;
        if (!isSent || value !== valueAt(number, i)) check.wrong.push(`${key} at ${timeMs}: ${value}`);
      }
    }
  }
  const known = new Set(
    ledgers.flatMap(({ writer, series }) => Array.from({ length: series }, (_, i) => `${writer}/${i}`)),
  );
  for (const key of content.keys()) if (!known.has(key)) check.wrong.push(`series ${key}`);
  return { ...check, checked };
}
