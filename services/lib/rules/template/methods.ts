// Methods that templates call on times and durations (`(toTime $value).Format "15:04"`).
import { formatTime, monthName, printDuration, printTime, weekdayName, yearDay } from './go-time.ts';
import type { ParameterType, TemplateFunction } from './template-function.ts';
import { TemplateDuration, TemplateTime, type Value } from './values.ts';

type Method<T> = {
  readonly params: readonly ParameterType[];
  call(self: T, values: readonly Value[]): Value;
};

const none = <T>(call: (self: T) => Value): Method<T> => ({ params: [], call });
const dateOf = (self: TemplateTime) => new Date(self.timeMs);

const TIME_METHODS: ReadonlyMap<string, Method<TemplateTime>> = new Map<string, Method<TemplateTime>>([
  ['Format', { params: ['string'], call: (self, values) => formatTime(self.timeMs, values[0] as string) }],
  ['Unix', none((self) => BigInt(Math.floor(self.timeMs / 1000)))],
  ['UnixMilli', none((self) => BigInt(self.timeMs))],
  ['UnixNano', none((self) => BigInt(self.timeMs) * 1_000_000n)],
  ['UTC', none((self) => self)],
  ['String', none((self) => printTime(self.timeMs))],
  ['Year', none((self) => BigInt(dateOf(self).getUTCFullYear()))],
  ['Month', none((self) => monthName(self.timeMs))],
  ['Day', none((self) => BigInt(dateOf(self).getUTCDate()))],
  ['Hour', none((self) => BigInt(dateOf(self).getUTCHours()))],
  ['Minute', none((self) => BigInt(dateOf(self).getUTCMinutes()))],
  ['Second', none((self) => BigInt(dateOf(self).getUTCSeconds()))],
  ['Weekday', none((self) => weekdayName(self.timeMs))],
  ['YearDay', none((self) => BigInt(yearDay(dateOf(self))))],
]);

const seconds = (self: TemplateDuration) => Number(self.nanoseconds) / 1e9;

const DURATION_METHODS: ReadonlyMap<string, Method<TemplateDuration>> = new Map<
  string,
  Method<TemplateDuration>
>([
  ['Seconds', none((self) => seconds(self))],
  ['Minutes', none((self) => seconds(self) / 60)],
  ['Hours', none((self) => seconds(self) / 3600)],
  ['Milliseconds', none((self) => self.nanoseconds / 1_000_000n)],
  ['Microseconds', none((self) => self.nanoseconds / 1000n)],
  ['Nanoseconds', none((self) => self.nanoseconds)],
  ['String', none((self) => printDuration(self.nanoseconds))],
]);

/** A method bound to its receiver, or undefined. */
export function methodOf(receiver: Value, name: string): TemplateFunction | undefined {
  if (receiver instanceof TemplateTime) return bind(TIME_METHODS.get(name), receiver);
  if (receiver instanceof TemplateDuration) return bind(DURATION_METHODS.get(name), receiver);
  return undefined;
}

function bind<T>(method: Method<T> | undefined, self: T): TemplateFunction | undefined {
  if (method === undefined) return undefined;
  return { params: method.params, rest: undefined, call: (values) => method.call(self, values) };
}
