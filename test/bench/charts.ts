import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Chart, Mark } from './markdown.ts';

/** Halfway between white and GitHub's dark page: text and lines are legible on both. The background is transparent. */
const INK = '#7a828c';
const GRID = '#7a828c40';
/** Paul Tol's bright scheme, without what is faint on white: distinct for people who see no red or no green. */
const COLOURS = ['#4a8fd6', '#e0703c', '#3aa35c', '#b06ad0', '#c79a00', '#d9577c'];
const DECADES = [0.01, 0.1, 1, 10, 100, 1000, 10_000, 100_000];
/** The length of a legend's line, in letters. */
const LEGEND_LETTERS = 60;
const FONT = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif';

/** Returns a chart as a standalone SVG, the same for the same data. */
export async function svgOf(chart: Chart): Promise<string> {
  const shape = chart.kind === 'line' ? lines(chart) : bars(chart);
  const spec = { ...shape, data: { values: chart.data }, config, background: 'transparent' } as TopLevelSpec;
  const svg = await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
  return `${svg}\n`;
}

/** A line for each series, over sizes on a logarithmic axis. */
function lines({ data, x, y, logY }: Chart) {
  const sizes = [...new Set(data.map((mark) => mark.x))];
  return {
    width: 520,
    height: 200,
    mark: { type: 'line', point: { size: 45 }, strokeWidth: 2 },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative',
        scale: { type: 'log', nice: false },
        axis: { title: x, format: '~s', values: sizes, grid: false },
      },
      y: {
        field: 'y',
        type: 'quantitative',
        scale: logY ? { type: 'log' } : { zero: true, nice: true },
        axis: { title: y, ...(logY ? { format: ',~g', values: DECADES } : { format: ',f', tickCount: 5 }) },
      },
      color: colour(data),
    },
  };
}

/** Horizontal bars, each stacked from its series, and grouped by facet if there are any. */
function bars({ data, y }: Chart) {
  const spec = {
    width: 400,
    height: { step: 18 },
    mark: { type: 'bar', height: { band: 0.75 } },
    encoding: {
      x: { field: 'y', type: 'quantitative', axis: { title: y, format: ',f', tickCount: 5 } },
      y: { field: 'x', type: 'nominal', sort: seen(data, 'x'), axis: { title: null, labelLimit: 300 } },
      color: colour(data),
      order: { field: 'series', sort: 'descending' },
    },
  };
  if (data[0]?.facet === undefined) return spec;
  const header = { title: null, labelAngle: 0, labelAlign: 'left' };
  return { facet: { row: { field: 'facet', type: 'nominal', sort: seen(data, 'facet'), header } }, spec };
}

function colour(data: Mark[]) {
  const names = seen(data, 'series');
  // Side by side where they fit.
  const legend = { title: null, columns: names.join('').length < LEGEND_LETTERS ? names.length : 1, labelLimit: 500 };
  return { field: 'series', type: 'nominal', sort: names, legend };
}

/** The distinct values of `name`, in order of appearance. */
const seen = (data: Mark[], name: keyof Mark) => [...new Set(data.map((mark) => mark[name]))];

const config = {
  font: FONT,
  view: { stroke: null },
  axis: {
    labelColor: INK,
    titleColor: INK,
    domainColor: INK,
    tickColor: INK,
    gridColor: GRID,
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    titlePadding: 8,
  },
  legend: { labelColor: INK, titleColor: INK, labelFontSize: 12, orient: 'top', symbolStrokeWidth: 3 },
  header: { labelColor: INK, labelFontSize: 12 },
  range: { category: COLOURS },
};
