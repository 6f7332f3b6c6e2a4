import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spawnService } from './service.ts';

test('a line that a kill cuts short is not one, and the end of the process is noticed', async () => {
  const cut = `process.stdout.write('{"msg":"whole"}\\n{"msg":"cut sh'); setInterval(() => {}, 1000)`;
  const service = spawnService({}, [process.execPath, '-e', cut]);
  await service.line(({ msg }) => msg === 'whole');
  assert.equal(await service.stop('SIGKILL'), 'SIGKILL');
  assert.deepEqual(service.lines, [{ msg: 'whole' }]);
});
