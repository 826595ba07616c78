// Instant queries of rules through whichever querier answers.
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { FloatHistogram } from '../lib/model/float-histogram.ts';
import { decodeLabels, type Labels } from '../lib/model/labels.ts';
import type { QueryVector } from '../lib/rules/rule-samples.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { type QueryRequest, type QueryResponse, ResultType } from '../lib/wire/contracts.ts';
import { readResultFrame } from '../lib/wire/frames/result-frame.ts';

export interface RuleQuery {
  readonly query: string;
  /** Unix milliseconds. */
  readonly timeMs: number;
  /** 0: the querier's default. */
  readonly lookbackMs: number;
}

/** Asks queriers in turn; one that is unavailable hands over to the next. */
export class RuleQuerier {
  readonly #cluster: Cluster;
  readonly #tenant: string;
  #turn = 0;

  constructor(cluster: Cluster, tenant: string) {
    this.#cluster = cluster;
    this.#tenant = tenant;
  }

  /**
   * Evaluates an instant query that gives a vector or a scalar.
   *
   * @throws AppError `unavailable` when no querier answers; `execution` and others as the querier says.
   */
  async query(query: RuleQuery, signal: AbortSignal): Promise<QueryVector> {
    const peers = this.#cluster.queriers();
    if (peers.length === 0)
      throw new AppError('unavailable', 'no querier is known: rules cannot be evaluated');
    const first = this.#turn++ % peers.length;
    for (let i = 0; ; i++) {
      const { client } = peers[(first + i) % peers.length]!;
      try {
        return await collect(client.query(toRequest(this.#tenant, query), { signal }));
      } catch (caught) {
        const error = toAppError(caught);
        if (error.code !== 'unavailable' || i + 1 >= peers.length || signal.aborted) throw error;
      }
    }
  }
}

function toRequest(tenant: string, { query, timeMs, lookbackMs }: RuleQuery): QueryRequest {
  return {
    tenant,
    query,
    startMs: timeMs,
    endMs: timeMs,
    stepMs: 0,
    timeoutMs: 0,
    lookbackMs,
    limit: 0,
    allowPartial: false,
  };
}

async function collect(answer: AsyncIterable<QueryResponse>): Promise<QueryVector> {
  const labels: Labels[] = [];
  let histograms: (FloatHistogram | undefined)[] | undefined;
  let values = new Float64Array(64);
  for await (const { part } of answer) {
    if (part?.$case === 'header') {
      const { resultType } = part.value;
      if (resultType !== ResultType.RESULT_TYPE_VECTOR && resultType !== ResultType.RESULT_TYPE_SCALAR) {
        throw new AppError('execution', 'rule result is not a vector or scalar');
      }
    } else if (part?.$case === 'frame') {
      readResultFrame(part.value, (bytes, start, end, _timestampsMs, column, count, found) => {
        if (count === 0) return;
        if (labels.length === values.length) {
          const grown = new Float64Array(values.length * 2);
          new Uint8Array(grown.buffer).set(new Uint8Array(values.buffer));
          values = grown;
        }
        values[labels.length] = column[count - 1]!;
        if (found?.[count - 1] !== undefined) {
          histograms ??= [];
          histograms[labels.length] = found[count - 1];
        }
        labels.push(decodeLabels(bytes, start, end));
      });
    }
  }
  return { labels, values, histograms };
}
