// Colours of series, distinguishable on light and dark, and of the chart's own lines, from the style sheet.

const SERIES = [
  '#1098ad',
  '#f76707',
  '#7950f2',
  '#37b24d',
  '#e64980',
  '#f59f00',
  '#4c6ef5',
  '#e03131',
  '#12b886',
  '#ae3ec9',
  '#82c91e',
  '#868e96',
];

export function seriesColor(index: number): string {
  return SERIES[index % SERIES.length]!;
}

/** A custom property of the style sheet. */
export function themeColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
