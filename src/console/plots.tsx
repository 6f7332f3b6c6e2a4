/** @jsxImportSource hono/jsx */
import { number } from './parts.tsx';

type Minute = { at: string; sent: number; retry: number; dead: number };

const OUTCOMES = ['sent', 'retry', 'dead'] as const;
const NAMES = { sent: 'sent', retry: 'failed, will be retried', dead: 'dead' };

const WIDTH = 720;
const HEIGHT = 150;
/** Room for the scale on the left and the times below. */
const LEFT = 40;
const BELOW = 20;

/** Attempts per minute by outcome, as stacked bars, and the same as a table. */
export function MinutesPlot({ minutes }: { minutes: Minute[] }) {
  const totalOf = (minute: Minute) => minute.sent + minute.retry + minute.dead;
  const top = niceTop(Math.max(...minutes.map(totalOf), 1));
  const step = (WIDTH - LEFT) / Math.max(1, minutes.length);
  const yOf = (value: number) => HEIGHT - (value / top) * (HEIGHT - 12);
  const total = minutes.reduce((sum, minute) => sum + totalOf(minute), 0);
  return (
    <figure>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + BELOW}`} role="img" aria-labelledby="minutes-title" class="plot">
        <title id="minutes-title">{`${number(total)} attempts in the last hour, by minute and outcome`}</title>
        {[0, top / 2, top].map((value) => (
          <>
            <line class="grid" x1={LEFT} x2={WIDTH} y1={yOf(value)} y2={yOf(value)} />
            <text class="scale" x={LEFT - 6} y={yOf(value) + 4} text-anchor="end">
              {number(value)}
            </text>
          </>
        ))}
        {minutes.map((minute, n) => (
          <Bar minute={minute} x={LEFT + n * step} width={Math.max(1, step - 2)} yOf={yOf} />
        ))}
        {minutes.map(
          ({ at }, n) =>
            at.slice(14, 16).endsWith('0') &&
            n < minutes.length - 2 && (
              <text
                class={/[135]0$/.test(at.slice(14, 16)) ? 'scale between' : 'scale'}
                x={round(LEFT + (n + 0.5) * step)}
                y={HEIGHT + BELOW - 4}
                text-anchor="middle"
              >
                {at.slice(11, 16)}
              </text>
            ),
        )}
      </svg>
      <figcaption>
        {OUTCOMES.map((outcome) => (
          <span class={`key ${outcome}`}>{NAMES[outcome]}</span>
        ))}
        <span class="quiet">times in UTC</span>
      </figcaption>
      <MinutesTable minutes={minutes} />
    </figure>
  );
}

type BarProps = { minute: Minute; x: number; width: number; yOf: (value: number) => number };

function Bar({ minute, x, width, yOf }: BarProps) {
  let below = 0;
  return (
    <g>
      {OUTCOMES.map((outcome) => {
        const y = yOf(below + minute[outcome]);
        const height = yOf(below) - y;
        below += minute[outcome];
        return (
          height > 0 && <rect class={outcome} x={round(x)} y={round(y)} width={round(width)} height={round(height)} />
        );
      })}
    </g>
  );
}

function MinutesTable({ minutes }: { minutes: Minute[] }) {
  const busy = minutes.filter(({ sent, retry, dead }) => sent + retry + dead > 0);
  if (busy.length === 0) return null;
  return (
    <details>
      <summary>As a table</summary>
      <table aria-label="Attempts by minute and outcome">
        <thead>
          <tr>
            <th scope="col">Minute</th>
            {OUTCOMES.map((outcome) => (
              <th scope="col" class="number">
                {outcome}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {busy.map((minute) => (
            <tr>
              <th scope="row">{minute.at.slice(11, 16)}</th>
              {OUTCOMES.map((outcome) => (
                <td class="number">{number(minute[outcome])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

type Part = { name: string; value: number; shown: string; kind: string };

/** Shares of a whole as one bar, with their values in words. */
export function SharesPlot({ title, parts }: { title: string; parts: Part[] }) {
  const whole = parts.reduce((sum, { value }) => sum + value, 0);
  let x = 0;
  return (
    <figure>
      <svg viewBox={`0 0 ${WIDTH} 14`} role="img" aria-label={title} class="plot shares" preserveAspectRatio="none">
        <rect class="none" x="0" y="0" width={WIDTH} height="14" />
        {parts.map(({ value, kind }) => {
          const width = whole > 0 ? (value / whole) * WIDTH : 0;
          x += width;
          return width > 0 && <rect class={kind} x={round(x - width)} y="0" width={round(width)} height="14" />;
        })}
      </svg>
      <figcaption>
        {parts.map(({ name, shown, kind }) => (
          <span class={`key ${kind}`}>
            {name} <strong>{shown}</strong>
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

/** Returns the smallest of 2, 4, 10, 20, 40, 100 … that is at least `value`. */
function niceTop(value: number): number {
  for (let power = 1; ; power *= 10) {
    for (const step of [2, 4, 10]) if (step * power >= value) return step * power;
  }
}

const round = (value: number) => Math.round(value * 100) / 100;
