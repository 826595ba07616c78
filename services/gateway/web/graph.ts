// A range result as lines: uPlot draws, this makes its columns, the legend, the tooltip and zooming.
import type UPlot from 'uplot';
import type { MatrixSeries } from './api.ts';
import { element } from './dom.ts';
import { printAxisTimes, printNumber, printTime } from './format.ts';
import { seriesColor, themeColor } from './palette.ts';
import { labelNodes } from './table.ts';

/** uPlot.iife.min.js, loaded by index.html, defines it. */
declare const uPlot: typeof UPlot;

const HEIGHT = 340;
/** A line is highlighted when the pointer is this close, pixels. */
const FOCUS_PROXIMITY = 24;

export interface GraphRange {
  readonly startSeconds: number;
  readonly endSeconds: number;
  readonly stepSeconds: number;
}

export interface Graph {
  readonly node: HTMLElement;
  /** Draws; call once the node is in the document. */
  mount(): void;
  /** Frees listeners. */
  destroy(): void;
}

type Column = (number | null)[];

/** One x column and one y column per series; steps without a sample are gaps. */
function toColumns(series: readonly MatrixSeries[], range: GraphRange): [number[], ...Column[]] {
  const { startSeconds, endSeconds, stepSeconds } = range;
  const count = Math.floor((endSeconds - startSeconds) / stepSeconds + 1e-6) + 1;
  const times = Array.from({ length: count }, (_, i) => startSeconds + i * stepSeconds);
  const columns = series.map(({ values }) => {
    const column: Column = Array.from({ length: count }, () => null);
    for (const [time, text] of values) {
      const index = Math.round((time - startSeconds) / stepSeconds);
      const value = Number(text.replace('Inf', 'Infinity'));
      if (index >= 0 && index < count && Number.isFinite(value)) column[index] = value;
    }
    return column;
  });
  return [times, ...columns];
}

/**
 * Makes a graph.
 *
 * @param onZoom  Called with the range that was dragged over.
 */
export function createGraph(
  series: readonly MatrixSeries[],
  range: GraphRange,
  onZoom: (startSeconds: number, endSeconds: number) => void,
): Graph {
  const columns = toColumns(series, range);
  const plotNode = element('div', { className: 'graph' });
  const legend = element('div', { className: 'legend' });
  const tooltip = createTooltip(series);
  let plot: UPlot | undefined;
  const resize = new ResizeObserver(() => plot?.setSize({ width: plotNode.clientWidth, height: HEIGHT }));
  return {
    node: element('div', {}, plotNode, legend),
    mount: () => {
      plot = new uPlot(describePlot(series, plotNode.clientWidth, range, tooltip, onZoom), columns, plotNode);
      plot.over.append(tooltip.node);
      series.forEach((one, i) => {
        legend.append(legendRow(one, i, plot!));
      });
      resize.observe(plotNode);
    },
    destroy: () => {
      resize.disconnect();
      plot?.destroy();
    },
  };
}

function describePlot(
  series: readonly MatrixSeries[],
  width: number,
  range: GraphRange,
  tooltip: Tooltip,
  onZoom: (startSeconds: number, endSeconds: number) => void,
): UPlot.Options {
  const axis: UPlot.Axis = {
    stroke: themeColor('muted'),
    grid: { stroke: themeColor('grid'), width: 1 },
    ticks: { stroke: themeColor('grid'), width: 1 },
    font: '11px system-ui, sans-serif',
  };
  const lines: UPlot.Series[] = series.map((_, i) => ({
    label: '',
    stroke: seriesColor(i),
    width: 1.5,
    points: { show: series.length === 1 && (range.endSeconds - range.startSeconds) / range.stepSeconds < 60 },
  }));
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    scales: { x: { time: true, range: [range.startSeconds, range.endSeconds] } },
    axes: [
      { ...axis, size: 42, space: 80, values: (_, splits) => printAxisTimes(splits) },
      { ...axis, size: 62, values: (_, splits) => splits.map(printNumber) },
    ],
    series: [{}, ...lines],
    focus: { alpha: 0.25 },
    cursor: {
      y: false,
      focus: { prox: FOCUS_PROXIMITY },
      drag: { x: true, y: false, setScale: false },
    },
    hooks: {
      setCursor: [(plot) => tooltip.move(plot)],
      setSeries: [(plot, index) => tooltip.focus(plot, index)],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const start = plot.posToVal(plot.select.left, 'x');
          const end = plot.posToVal(plot.select.left + plot.select.width, 'x');
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          onZoom(start, end);
        },
      ],
    },
  };
}

function legendRow(one: MatrixSeries, index: number, plot: UPlot): HTMLElement {
  const swatch = element('span', { className: 'swatch' });
  swatch.style.background = seriesColor(index);
  const last = one.values.at(-1)?.[1] ?? '';
  const row = element(
    'button',
    { attributes: { type: 'button', title: 'Show or hide; with Ctrl or ⌘: only this one' } },
    swatch,
    labelNodes(one.metric),
    element(
      'span',
      { className: 'number' },
      last === '' ? '' : printNumber(Number(last.replace('Inf', 'Infinity'))),
    ),
  );
  row.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey) showOnly(plot, index + 1, row);
    else {
      const show = plot.series[index + 1]!.show === false;
      plot.setSeries(index + 1, { show });
      row.classList.toggle('off', !show);
    }
  });
  row.addEventListener('mouseenter', () => plot.setSeries(index + 1, { focus: true }));
  row.addEventListener('mouseleave', () => plot.setSeries(null, { focus: false }));
  return row;
}

function showOnly(plot: UPlot, only: number, row: HTMLElement): void {
  const alone = plot.series.every((one, i) => i === 0 || (one.show !== false) === (i === only));
  const rows = row.parentElement?.children ?? [];
  plot.batch(() => {
    for (let i = 1; i < plot.series.length; i++) {
      const show = alone || i === only;
      plot.setSeries(i, { show });
      rows[i - 1]?.classList.toggle('off', !show);
    }
  });
}

interface Tooltip {
  readonly node: HTMLElement;
  move(plot: UPlot): void;
  focus(plot: UPlot, index: number | null): void;
}

/** Follows the pointer and names the nearest line. */
function createTooltip(series: readonly MatrixSeries[]): Tooltip {
  const when = element('div', { className: 'when' });
  const what = element('div', { className: 'what' });
  const node = element('div', { className: 'tooltip' }, when, what);
  node.hidden = true;
  let focused: number | null = null;
  const place = (plot: UPlot): void => {
    const { left, top, idx } = plot.cursor;
    const value = focused === null || idx == null ? null : (plot.data[focused]?.[idx] ?? null);
    node.hidden = idx == null || left === undefined || left < 0 || value === null;
    if (node.hidden || focused === null || idx == null) return;
    when.textContent = printTime(plot.data[0][idx]!);
    const swatch = element('span', { className: 'swatch' });
    swatch.style.background = seriesColor(focused - 1);
    what.replaceChildren(
      swatch,
      labelNodes(series[focused - 1]!.metric),
      element('b', {}, printNumber(value!)),
    );
    const onRight = left! < plot.over.clientWidth / 2;
    node.style.left = onRight ? `${left! + 14}px` : '';
    node.style.right = onRight ? '' : `${plot.over.clientWidth - left! + 14}px`;
    const isLow = (top ?? 0) > plot.over.clientHeight / 2;
    node.style.top = isLow ? '' : `${(top ?? 0) + 12}px`;
    node.style.bottom = isLow ? `${plot.over.clientHeight - (top ?? 0) + 12}px` : '';
  };
  return {
    node,
    move: place,
    focus: (plot, index) => {
      focused = index === 0 ? null : index;
      place(plot);
    },
  };
}
