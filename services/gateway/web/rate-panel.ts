// Samples arriving per second: a figure and a line in the header.
import { type Arrivals, call } from './api.ts';
import { byId } from './dom.ts';
import { printNumber } from './format.ts';
import { repeat } from './repeat.ts';

const INTERVAL_MS = 2000;
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 120;
const HEIGHT = 28;
const POINTS = 120;
/** A young process' line is stretched, down to this many points across. */
const POINTS_MIN = 30;
/** The figure is the mean of so many last seconds: scrapes arrive in bursts. */
const MEAN_SECONDS = 10;

export function startRatePanel(): void {
  const rate = byId('arrivals-rate');
  repeat(INTERVAL_MS, async () => {
    try {
      const { data } = await call<Arrivals>('status/arrivals');
      const recent = data.samplesPerSecond.slice(-MEAN_SECONDS);
      const mean = recent.reduce((sum, value) => sum + value, 0) / Math.max(1, recent.length);
      rate.textContent = printNumber(Math.round(mean));
      byId('arrivals').title = `${data.samplesTotal.toLocaleString()} samples acknowledged since the start`;
      drawSparkline(data.samplesPerSecond);
    } catch {
      rate.textContent = '–';
    }
  });
}

function drawSparkline(values: readonly number[]): void {
  const most = Math.max(1, ...values);
  const gap = WIDTH / (Math.min(POINTS, Math.max(POINTS_MIN, values.length)) - 1);
  const points = values.map((value, i) => {
    const x = WIDTH - (values.length - 1 - i) * gap;
    return `${x.toFixed(1)},${(HEIGHT - 1 - (value / most) * (HEIGHT - 3)).toFixed(1)}`;
  });
  const left = (WIDTH - (values.length - 1) * gap).toFixed(1);
  const area = ['polygon', 'area', [`${left},${HEIGHT}`, ...points, `${WIDTH},${HEIGHT}`]] as const;
  const line = ['polyline', 'line', points] as const;
  byId<HTMLElement>('sparkline').replaceChildren(
    ...[area, line].map(([tag, className, shape]) => {
      const node = document.createElementNS(SVG, tag);
      node.setAttribute('class', className);
      node.setAttribute('points', shape.join(' '));
      return node;
    }),
  );
}
