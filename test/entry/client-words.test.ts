import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { ownDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { startService } from '../support/service.ts';
import { headers, token } from '../support/tokens.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const METHOD = 'MFKQRGKYQRTWJUPDILPZIOLALASW';
const AUTHORIZATION = `Authorization: Bearer ${token()}`;
const BODY = JSON.stringify({ url: `https://${SECRET}.example/`, events: [SECRET], [SECRET]: SECRET });

/** One secret wherever a client can write it; the status if all runtimes have the same, otherwise any but a failure. */
const REQUESTS: [lines: string[], status?: number][] = [
  [[`GET /${SECRET} HTTP/1.1`, 'Host: x'], 404],
  [[`GET /%E0%A4%A%${SECRET} HTTP/1.1`, `Host: ${SECRET}.example`], 404],
  [[`GET //${SECRET}:99999999/x HTTP/1.1`, 'Host: x'], 404],
  [[`GET /${SECRET} HTTP/1.1`, `Host: a b[${SECRET}`], 400],
  [[`GET /${SECRET} HTTP/1.1`, 'Host: [::'], 400],
  [[`GET http://[${SECRET}/${SECRET} HTTP/1.1`, 'Host: x']],
  [[`GET ${SECRET} HTTP/1.1`, 'Host: x'], 400],
  [[`${METHOD} / HTTP/1.1`, 'Host: x']],
  [[`GET /api/v1/webhook-endpoints?cursor=${SECRET} HTTP/1.1`, 'Host: x', AUTHORIZATION], 400],
  [[`GET /api/v1/webhook-endpoints HTTP/1.1`, 'Host: x', `Authorization: Bearer ${SECRET}`], 401],
  [
    [`GET /health HTTP/1.1`, 'Host: x', `X-Request-Id: ${SECRET}`, `traceparent: 00-${SECRET}`, `Cookie: ${SECRET}`],
    200,
  ],
  [
    [
      'POST /api/v1/webhook-endpoints HTTP/1.1',
      'Host: x',
      AUTHORIZATION,
      `Idempotency-Key: ${SECRET}`,
      'Content-Type: application/json',
      `Content-Length: ${BODY.length}`,
    ],
    422,
  ],
];

for (const [runtime, command] of Object.entries(COMMANDS)) {
  test(`on ${runtime} a secret reaches no line of the log, wherever a client writes it`, async (t) => {
    const service = await startService({ DATABASE_URL: (await ownDatabase(t)).url }, command);
    t.after(() => service.stop());
    for (const [lines, status] of REQUESTS) {
      const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
      socket.write(
        `${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n${lines[0]?.startsWith('POST') ? BODY : ''}`,
      );
      const answer = await text(socket);
      const got = Number(answer.split(' ')[1]);
      assert.ok(status === undefined ? !(got >= 500) : got === status, `${lines.join(', ')}: ${answer.slice(0, 200)}`);
    }
    const call = await fetch(`${service.url}/api/v1/webhook-endpoints/${SECRET}`, {
      headers: headers({ claims: { sub: SECRET } }),
    });
    assert.equal(call.status, 404);
    assert.equal(await service.stop(), 0);
    const log = service.lines.map((line) => JSON.stringify(line)).join('\n');
    assert.ok(service.lines.filter(({ msg }) => msg === 'request').length >= 7, log);
    assert.ok(!service.lines.some(({ level }) => level === 'error'), log);
    for (const part of [SECRET, SECRET.slice(6, 20), METHOD, token().split('.')[0] as string]) {
      assert.ok(!log.includes(part), log);
    }
  });
}
