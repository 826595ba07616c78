// Clients of a stateless service that go to another process when theirs cannot be reached: a killed querier costs its callers
// some milliseconds, not an error. Only for calls that may be made twice.
import { type AppError, toAppError } from '../core/errors.ts';
import type { Peer } from './cluster.ts';
import type { CallContext, Client, ServiceDefinition } from './rpc.ts';

type AnyCall = (request: unknown, context: CallContext) => unknown;

/**
 * Wraps each peer's client. A call that fails as `unavailable` before its first message is made once more, at the next peer.
 *
 * The definition must have no method that takes a stream: its messages could not be sent twice.
 */
export function withFailover<D extends ServiceDefinition>(
  definition: D,
  peers: readonly Peer<Client<D>>[],
): readonly Peer<Client<D>>[] {
  if (peers.length < 2) return peers;
  return peers.map((peer, i) => {
    const second = peers[(i + 1) % peers.length]!;
    const client: Record<string, unknown> = {};
    for (const [key, method] of Object.entries(definition.methods)) {
      const calls = [peer, second].map((each) => (each.client as Record<string, AnyCall>)[key]!);
      client[key] = method.responseStream ? streamOf(calls) : unaryOf(calls);
    }
    return { ...peer, client: client as Client<D> };
  });
}

function unaryOf([first, second]: readonly AnyCall[]): AnyCall {
  return async (request, context) => {
    try {
      return await first!(request, context);
    } catch (caught) {
      if (!mayTryElsewhere(caught, context)) throw caught;
      return await second!(request, context);
    }
  };
}

function streamOf([first, second]: readonly AnyCall[]): AnyCall {
  return async function* (request, context) {
    let hasBegun = false;
    try {
      for await (const message of first!(request, context) as AsyncIterable<unknown>) {
        hasBegun = true;
        yield message;
      }
      return;
    } catch (caught) {
      if (hasBegun || !mayTryElsewhere(caught, context)) throw caught;
    }
    yield* second!(request, context) as AsyncIterable<unknown>;
  };
}

function mayTryElsewhere(caught: unknown, context: CallContext): boolean {
  const error: AppError = toAppError(caught);
  return error.code === 'unavailable' && !context.signal.aborted;
}
