// Structured logs by pino: JSON or logfmt-like text on standard error, as `--log.format` and `--log.level` say.
import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';

/** What engines and services log with: an object of fields first, then the sentence. */
export type Logger = PinoLogger;

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFormat = 'json' | 'logfmt';

/** A logger that writes to `destination` (default: standard error). */
export function createLogger(
  options: { readonly level: LogLevel; readonly format: LogFormat },
  destination?: DestinationStream,
): Logger {
  const target = destination ?? pino.destination({ dest: 2, sync: true });
  const stream =
    options.format === 'json' ? target : { write: (line: string) => target.write(toLogfmt(line)) };
  return pino(
    {
      level: options.level,
      base: null,
      messageKey: 'msg',
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err },
    },
    stream,
  );
}

/** A logger that says nothing: for tests. */
export function createSilentLogger(): Logger {
  return pino({ level: 'silent' });
}

function toLogfmt(line: string): string {
  const fields = JSON.parse(line) as Record<string, unknown>;
  const { ts, level, msg, ...rest } = fields;
  const parts = [`ts=${String(ts)}`, `level=${String(level)}`, `msg=${quote(msg)}`];
  for (const [key, value] of Object.entries(rest)) parts.push(`${key}=${quote(value)}`);
  return `${parts.join(' ')}\n`;
}

function quote(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'message' in value) return quote(value.message);
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
