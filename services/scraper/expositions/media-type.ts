// Which parser reads an answer: by its Content-Type, else by fallback_scrape_protocol, else none.
import { AppError } from '../../lib/core/errors.ts';
import type { ScrapeProtocol } from '../../lib/runtime/config/prometheus-config.ts';

export type ExpositionFormat = 'text' | 'openmetrics' | 'protobuf';

const FALLBACKS: Readonly<Record<ScrapeProtocol, ExpositionFormat>> = {
  PrometheusProto: 'protobuf',
  'OpenMetricsText0.0.1': 'openmetrics',
  'OpenMetricsText1.0.0': 'openmetrics',
  'PrometheusText0.0.4': 'text',
  'PrometheusText1.0.0': 'text',
};

/** @throws AppError `bad_data` when neither the type nor the fallback names a format that is read. */
export function expositionFormat(
  contentType: string,
  fallback: ScrapeProtocol | undefined,
): ExpositionFormat {
  const format = formatOf(contentType);
  if (format !== undefined) return format;
  if (fallback !== undefined) return FALLBACKS[fallback];
  const received =
    contentType.trim() === ''
      ? 'the target sends no Content-Type'
      : `the target sends the unsupported Content-Type ${JSON.stringify(contentType)}`;
  throw new AppError('bad_data', `${received} and no fallback_scrape_protocol is set`);
}

function formatOf(contentType: string): ExpositionFormat | undefined {
  const type = contentType.split(';', 1)[0]!.trim().toLowerCase();
  if (type === 'application/openmetrics-text') return 'openmetrics';
  if (type === 'text/plain') return 'text';
  if (type === 'application/vnd.google.protobuf') return 'protobuf';
  return undefined;
}
