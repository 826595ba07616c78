// Times and durations as Go prints them, and time.Format's layouts. Times are UTC.

const SECOND = 1_000_000_000n;

/** time.Duration's String(): `1h0m5s`, `1.5s`, `300ms`, `0s`. */
export function printDuration(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return '0s';
  const sign = nanoseconds < 0n ? '-' : '';
  const rest = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  if (rest < SECOND) {
    if (rest < 1000n) return `${sign}${rest}ns`;
    if (rest < 1_000_000n) return `${sign}${fraction(rest, 3)}µs`;
    return `${sign}${fraction(rest, 6)}ms`;
  }
  const minutes = rest / (60n * SECOND);
  const seconds = `${fraction(rest % (60n * SECOND), 9)}s`;
  if (minutes === 0n) return sign + seconds;
  const hours = minutes / 60n;
  return `${sign}${hours > 0n ? `${hours}h` : ''}${minutes % 60n}m${seconds}`;
}

/** `value` / 10^decimals without trailing zeros. */
function fraction(value: bigint, decimals: number): string {
  const digits = value.toString().padStart(decimals + 1, '0');
  const tail = digits.slice(-decimals).replace(/0+$/, '');
  return digits.slice(0, -decimals) + (tail === '' ? '' : `.${tail}`);
}

/** fmt.Sprint of a time: `2015-06-23 13:19:44.128 +0000 UTC`. */
export function printTime(timeMs: number): string {
  return formatTime(timeMs, '2006-01-02 15:04:05.999999999 -0700 MST');
}

const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

/** Pieces of a layout, longest first where one begins with another. */
const LAYOUT =
  /January|Jan|Monday|Mon|MST|2006|Z07:00:00|Z070000|Z07:00|Z0700|Z07|-07:00:00|-070000|-07:00|-0700|-07|__2|002|_2|01|02|03|04|05|06|15|PM|pm|[.,]0+(?!\d)|[.,]9+(?!\d)|[1-5]/g;

/** time.Format in UTC. */
export function formatTime(timeMs: number, layout: string): string {
  const date = new Date(timeMs);
  return layout.replace(LAYOUT, (piece) => layoutPiece(date, piece));
}

const two = (value: number): string => String(value).padStart(2, '0');

function layoutPiece(date: Date, piece: string): string {
  const hour = date.getUTCHours();
  if (piece[0] === '.' || piece[0] === ',') return fractionPiece(date, piece);
  if (piece[0] === 'Z') return 'Z';
  if (piece[0] === '-') return piece.replace('-07', '+00');
  switch (piece) {
    case 'January':
      return MONTHS[date.getUTCMonth()]!;
    case 'Jan':
      return MONTHS[date.getUTCMonth()]!.slice(0, 3);
    case 'Monday':
      return DAYS[date.getUTCDay()]!;
    case 'Mon':
      return DAYS[date.getUTCDay()]!.slice(0, 3);
    case 'MST':
      return 'UTC';
    case '2006':
      return String(date.getUTCFullYear()).padStart(4, '0');
    case '06':
      return two(date.getUTCFullYear() % 100);
    case '01':
      return two(date.getUTCMonth() + 1);
    case '1':
      return String(date.getUTCMonth() + 1);
    case '02':
      return two(date.getUTCDate());
    case '_2':
      return String(date.getUTCDate()).padStart(2, ' ');
    case '2':
      return String(date.getUTCDate());
    case '002':
      return String(yearDay(date)).padStart(3, '0');
    case '__2':
      return String(yearDay(date)).padStart(3, ' ');
    case '15':
      return two(hour);
    case '03':
      return two(hour % 12 || 12);
    case '3':
      return String(hour % 12 || 12);
    case '04':
      return two(date.getUTCMinutes());
    case '4':
      return String(date.getUTCMinutes());
    case '05':
      return two(date.getUTCSeconds());
    case '5':
      return String(date.getUTCSeconds());
    case 'PM':
      return hour < 12 ? 'AM' : 'PM';
    case 'pm':
      return hour < 12 ? 'am' : 'pm';
    default:
      return piece;
  }
}

function fractionPiece(date: Date, piece: string): string {
  const digits = String(date.getUTCMilliseconds()).padStart(3, '0').padEnd(9, '0');
  const kept = digits.slice(0, piece.length - 1).padEnd(Math.min(piece.length - 1, 9), '0');
  if (piece[1] === '0') return piece[0] + kept;
  const trimmed = kept.replace(/0+$/, '');
  return trimmed === '' ? '' : piece[0] + trimmed;
}

/** Day of the year, 1 … 366. */
export function yearDay(date: Date): number {
  return Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1;
}

/** Name of the weekday or month of a time. */
export function weekdayName(timeMs: number): string {
  return DAYS[new Date(timeMs).getUTCDay()]!;
}

/** Name of the month of a time. */
export function monthName(timeMs: number): string {
  return MONTHS[new Date(timeMs).getUTCMonth()]!;
}
