// A separate process, forked by load.ts: clients that each send the next request as soon as the last is answered.
import { connect } from 'node:net';
import { quantile } from './figures.ts';

/** `{path}` and `{unique}` in `request` and `body` become the next of `paths` and a value never used before. */
export type Plan = { port: number; connections: number; request: string; body: string; paths: string[]; ok: number };
export type Measured = {
  requests: number;
  seconds: number;
  failed: number;
  p50: number;
  p99: number;
  max: number;
  cpuMs: number;
};
export type Order = { plan: Plan } | { seconds: number };

const END_OF_HEAD = '\r\n\r\n';
/** Fixed, so that a body's length is known before the body is built. */
const UNIQUE_LENGTH = 16;
const RUN = Math.floor(Math.random() * 36 ** 6).toString(36);

let asked = 0;
let latencies: number[] = [];
let failed = 0;

process.on('message', (order: Order) => {
  if ('plan' in order) begin(order.plan);
  else measure(order.seconds);
});
process.on('disconnect', () => process.exit());

function begin(plan: Plan): void {
  const next = requestsOf(plan);
  const expected = `HTTP/1.1 ${plan.ok} `;
  for (let i = 0; i < plan.connections; i++) open(plan.port, next, expected);
}

/** Builds each request from text that is split once. */
function requestsOf({ request, body, paths }: Plan): () => string {
  const length = body.replaceAll('{unique}', 'x'.repeat(UNIQUE_LENGTH)).length;
  const framing = body ? `Content-Length: ${length}\r\n` : '';
  const templates = paths.map((path) => {
    const text = `${request.replace('{path}', path)}${framing}\r\n${body}`;
    return text.split('{unique}');
  });
  return () => {
    const template = templates[asked % templates.length] as string[];
    asked++;
    if (template.length === 1) return template[0] as string;
    return template.join(`${RUN}${asked.toString(36)}`.padStart(UNIQUE_LENGTH, '0'));
  };
}

function open(port: number, next: () => string, expected: string): void {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  let start = 0;
  let rest: Buffer | undefined;
  const ask = () => {
    start = performance.now();
    socket.write(next());
  };
  socket.on('connect', ask);
  socket.on('data', (chunk) => {
    const seen = rest ? Buffer.concat([rest, chunk]) : chunk;
    const head = seen.indexOf(END_OF_HEAD);
    const length = head < 0 ? Number.NaN : lengthOf(seen.toString('latin1', 0, head));
    if (!(seen.length >= head + END_OF_HEAD.length + length)) {
      rest = seen;
      return;
    }
    rest = undefined;
    latencies.push(performance.now() - start);
    if (seen.toString('latin1', 0, expected.length) !== expected) failed++;
    ask();
  });
  // A closed connection is a failure, and is opened again.
  socket.on('error', () => {});
  socket.on('close', () => {
    failed++;
    setTimeout(open, 10, port, next, expected);
  });
}

function lengthOf(head: string): number {
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without its length:\n${head}`);
  return Number(length);
}

function measure(seconds: number): void {
  latencies = [];
  failed = 0;
  const start = performance.now();
  const used = process.cpuUsage();
  setTimeout(() => {
    const { user, system } = process.cpuUsage(used);
    const all = latencies;
    const measured: Measured = {
      requests: all.length,
      seconds: (performance.now() - start) / 1000,
      failed,
      p50: quantile(all, 0.5),
      p99: quantile(all, 0.99),
      max: quantile(all, 1),
      cpuMs: (user + system) / 1000,
    };
    process.send?.(measured);
  }, seconds * 1000);
}
