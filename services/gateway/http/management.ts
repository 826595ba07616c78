// Health, readiness, metrics, reload and quit: what kubelet, promtool and operators call.
import type { Registry } from 'prom-client';
import { toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { GatewayHost } from '../host.ts';
import { type Exchange, sendBody, sendJson, sendText } from './exchange.ts';
import type { Method, Route } from './route.ts';

const CHANGING: readonly Method[] = ['POST', 'PUT'];

export interface ManagementDeps {
  readonly host: GatewayHost;
  readonly registry: Registry;
  readonly logger: Logger;
  /** True from the beginning of draining. */
  isStopping(): boolean;
}

export function managementRoutes(
  options: { readonly lifecycleEnabled: boolean },
  deps: ManagementDeps,
): Route[] {
  const { host, registry } = deps;
  const lifecycle = (template: string, handle: (exchange: Exchange) => Promise<void>): Route[] => [
    {
      template,
      methods: CHANGING,
      kind: 'plain',
      handle: (exchange) =>
        options.lifecycleEnabled
          ? handle(exchange)
          : sendText(exchange, 403, 'Lifecycle API is not enabled.'),
    },
    {
      template,
      methods: ['GET', 'HEAD'],
      kind: 'plain',
      handle: (exchange) => {
        exchange.response.setHeader('Allow', CHANGING.join(', '));
        return sendText(exchange, 405, 'Only POST or PUT requests allowed');
      },
    },
  ];
  const probe = (template: string, handle: (exchange: Exchange) => Promise<void>): Route => ({
    template,
    methods: ['GET', 'HEAD'],
    kind: 'plain',
    handle,
  });
  return [
    probe('/-/healthy', (exchange) => sendText(exchange, 200, 'Tidemark is Healthy.\n')),
    probe('/-/ready', (exchange) =>
      host.isReady() && !deps.isStopping()
        ? sendText(exchange, 200, 'Tidemark is Ready.\n')
        : sendNotReady(exchange, deps.isStopping()),
    ),
    probe('/metrics', async (exchange) =>
      sendBody(exchange, 200, registry.contentType, await registry.metrics()),
    ),
    probe('/version', (exchange) =>
      sendJson(exchange, 200, JSON.stringify({ tidemark: host.version, ...host.buildInformation })),
    ),
    ...lifecycle('/-/reload', (exchange) => reload(exchange, deps)),
    ...lifecycle('/-/quit', async (exchange) => {
      exchange.response.setHeader('Connection', 'close');
      exchange.response.once('finish', () => host.shutdown('POST /-/quit'));
      await sendText(exchange, 200, 'Requesting termination... Goodbye!');
    }),
  ];
}

/** 503 as Prometheus sends it while it starts or stops. */
export async function sendNotReady(exchange: Pick<Exchange, 'request' | 'response'>, stopping: boolean) {
  exchange.response.setHeader('X-Prometheus-Stopping', String(stopping));
  exchange.response.setHeader('Retry-After', '5');
  await sendText(exchange, 503, 'Service Unavailable');
}

async function reload(exchange: Exchange, deps: ManagementDeps): Promise<void> {
  try {
    await deps.host.reload();
  } catch (caught) {
    const error = toAppError(caught);
    deps.logger.error({ err: error }, 'configuration not reloaded, the old one stays in force');
    await sendText(exchange, 500, `failed to reload config: ${error.message}\n`);
    return;
  }
  await sendText(exchange, 200, '');
}
