// The in-process channel: the same calls as over gRPC, without bytes in between. Messages pass by reference, so whoever
// sends one gives it away. Errors arrive as AppError, as they do over gRPC.
import { throwIfAborted, toAppError } from '../core/errors.ts';
import type { CallContext, Client, Handlers, ServiceDefinition } from './rpc.ts';

/** Connects callers to handlers in this process. */
export function createInProcessClient<D extends ServiceDefinition>(
  definition: D,
  handlers: Handlers<D>,
): Client<D> {
  const client: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(definition.methods)) {
    const handler = handlers[key] as (request: unknown, context: CallContext) => unknown;
    client[key] = method.responseStream
      ? (request: unknown, context: CallContext) =>
          relay(() => handler(request, context) as AsyncIterable<unknown>, context)
      : async (request: unknown, context: CallContext) => {
          try {
            throwIfAborted(context.signal);
            return await (handler(request, context) as Promise<unknown>);
          } catch (caught) {
            throw toAppError(caught);
          }
        };
  }
  return client as Client<D>;
}

async function* relay(open: () => AsyncIterable<unknown>, context: CallContext): AsyncGenerator<unknown> {
  try {
    throwIfAborted(context.signal);
    for await (const message of open()) {
      yield message;
      throwIfAborted(context.signal);
    }
  } catch (caught) {
    throw toAppError(caught);
  }
}
