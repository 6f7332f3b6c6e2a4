// Upgrades a clone of 0.1.0 with a resource of its own to this version, with the commands of CONTRIBUTING.md.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inClone } from '../support/clone.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';

const root = join(import.meta.dirname, '../..');
/** The commit of 0.1.0: a clone of the repository may lack its tag. */
const FIRST = /^Commit `(\w+)`/m.exec(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'))?.[1] ?? 'none';

/** Keelson's own routes: a clone has others. */
const AS_IT_COMES = ['actions', 'docs', 'notifications', 'stats', 'system', 'users', 'webhook-endpoints']
  .map((folder) => `src/${folder}/routes.ts`)
  .join();

function reasonToSkip(): string | false {
  const own = globSync('src/*/routes.ts', { cwd: root }).sort().join();
  if (inClone || own !== AS_IT_COMES) return 'this is a clone: Keelson rehearses how clones are upgraded to it';
  const found = spawnSync('git', ['cat-file', '-e', `${FIRST}^{commit}`], { cwd: root });
  return (
    found.status !== 0 && `the history lacks the commit of 0.1.0 (${FIRST}): this is a shallow clone or an archive`
  );
}

/** The commands under "Upgrade a clone", by the number of the step. */
function stepsOfUpgrade(): string[] {
  const [, section = ''] = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8').split('\n## Upgrade a clone\n');
  const steps = (section.split('\n## ')[0] as string).split(/^\d\\\. /m);
  return steps.map((step) => step.split('```')[1]?.replace(/^sh\n/, '') ?? '');
}

/** Adds the two lines that a resource needs in src/app.ts. */
function mountTeams(clone: string) {
  edit(clone, 'src/app.ts', '\nimport { usersRoutes }', "\nimport { teamsRoutes } from './teams/routes.ts';$&");
  edit(clone, 'src/app.ts', "\n  .route('/api/v1/users', ", "\n  .route('/api/v1/teams', teamsRoutes)$&");
}

function edit(clone: string, file: string, text: string, replacement: string) {
  const path = join(clone, file);
  const before = readFileSync(path, 'utf8');
  assert.ok(before.includes(text), `${file} has ${text}`);
  writeFileSync(path, before.replace(text, replacement));
}

describe('an upgrade from 0.1.0 with a resource of its own', { skip: reasonToSkip() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-upgrade-'));
  const keelson = join(directory, 'keelson.git');
  const [withHistory, withoutHistory] = [join(directory, 'with-history'), join(directory, 'without-history')];
  const steps = stepsOfUpgrade();
  let database: Awaited<ReturnType<typeof createDatabase>>;

  /** Runs commands in a clone, unaffected by the login, hooks and settings of whoever runs the test. */
  function sh(clone: string, script: string, env: Record<string, string> = {}): string {
    const identity = ['AUTHOR', 'COMMITTER'].flatMap((who) => [
      [`GIT_${who}_NAME`, 'Acme'],
      [`GIT_${who}_EMAIL`, 'acme@example.com'],
    ]);
    const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: clone,
      encoding: 'utf8',
      env: {
        ...process.env,
        ...Object.fromEntries(identity),
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        KEELSON: keelson,
        // The packages are already installed: npm has to write only the lock file.
        npm_config_offline: 'true',
        npm_config_package_lock_only: 'true',
        NODE_TEST_CONTEXT: undefined,
        ...env,
      },
    });
    assert.equal(status, 0, `${script}\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** Links the packages installed here into the clone, including those that 0.1.0 needs and this version does not. */
  function install(clone: string) {
    symlinkSync(join(root, 'test/node_modules'), join(clone, 'test/node_modules'));
    for (const from of ['node_modules', 'test/node_modules']) {
      const names = readdirSync(join(root, from)).filter((name) => !['@hono', '@asteasolutions'].includes(name));
      const scoped = ['@hono', '@asteasolutions'].flatMap((scope) => {
        mkdirSync(join(clone, 'node_modules', scope), { recursive: true });
        const path = join(root, from, scope);
        return existsSync(path) ? readdirSync(path).map((name) => `${scope}/${name}`) : [];
      });
      for (const name of from === 'node_modules' ? [...names, ...scoped] : scoped) {
        const link = join(clone, 'node_modules', name);
        if (!existsSync(link)) symlinkSync(join(root, from, name), link);
      }
    }
    writeFileSync(join(clone, '.git/info/exclude'), 'node_modules\n');
  }

  const blocks = (...numbers: number[]) =>
    numbers.map((number) => steps[number]?.replace(/^FROM=\S+ TO=\S+/, 'FROM=v-from TO=v-to')).join('\n');

  const conflictsOf = (clone: string) => sh(clone, 'git diff --name-only --diff-filter=U').trim().split('\n');

  before(async () => {
    assert.ok(steps[1]?.startsWith('FROM='), 'CONTRIBUTING.md begins with the two versions');
    database = await createDatabase('');

    // Keelson's repository: 0.1.0, and what is in this directory, committed or not.
    sh(root, `git clone -q --bare --shared . "$KEELSON"`);
    const now = { GIT_DIR: keelson, GIT_WORK_TREE: root, GIT_INDEX_FILE: join(directory, 'index') };
    sh(root, 'git add --all && git tag v-to "$(git commit-tree -p HEAD -m now "$(git write-tree)")"', now);
    sh(keelson, `git tag v-from ${FIRST}`);

    sh(directory, `git clone -q "$KEELSON" with-history`);
    sh(withHistory, 'git checkout -q -b acme v-from && git remote remove origin && git tag -d v-from v-to');
    install(withHistory);
    cpSync(join(import.meta.dirname, 'teams/0.1.0'), withHistory, { recursive: true });
    mountTeams(withHistory);
    sh(withHistory, 'npm run db:generate -- --name teams && npm pkg set name=acme version=1.4.0 && npm install');
    sh(withHistory, 'git add --all && git commit -q -m "Teams"');

    sh(directory, 'cp -R with-history without-history');
    sh(withoutHistory, 'rm -rf .git && git init -q -b acme && echo node_modules > .git/info/exclude');
    sh(withoutHistory, 'git add --all && git commit -q -m "Acme"');

    sh(withHistory, 'npm run db:migrate', { DATABASE_URL: database.url });
    await query(database.name, `insert into teams values (gen_random_uuid(), 'Before', 1, now(), now())`);
  });

  after(async () => {
    await database?.drop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('leaves package.json, migrations and app.ts at most in conflict, with history and without', () => {
    sh(withHistory, blocks(1, 3));
    sh(withoutHistory, blocks(1, 2, 3));
    const expected = [
      'drizzle/meta/0005_snapshot.json',
      'drizzle/meta/_journal.json',
      'package-lock.json',
      'package.json',
    ];
    assert.deepEqual(
      conflictsOf(withHistory).filter((file) => file !== 'src/app.ts'),
      expected,
    );
    assert.deepEqual(conflictsOf(withoutHistory), conflictsOf(withHistory));
  });

  test('type-checks, and passes the tests of users and of its own resource', () => {
    // Step 5, by hand.
    if (conflictsOf(withHistory).includes('src/app.ts')) {
      sh(withHistory, 'git checkout --theirs src/app.ts');
      mountTeams(withHistory);
    }
    cpSync(join(import.meta.dirname, 'teams/0.2.0'), withHistory, { recursive: true });

    sh(withHistory, `FROM=v-from TO=v-to\n${blocks(4, 6)}`);
    sh(withHistory, 'npx tsc -p test');
    const files = ['house', 'teams/store', 'users/store'].map((file) => `test/${file}.test.ts`);
    assert.match(sh(withHistory, `npm test -- ${files.join(' ')}`), /✔ a team is created once under one key/);
  });

  test('keeps the data of a database, and brings it up to date', async () => {
    sh(withHistory, 'npm run db:migrate', { DATABASE_URL: database.url });
    const journal = JSON.parse(readFileSync(join(withHistory, 'drizzle/meta/_journal.json'), 'utf8'));
    const applied = await query(database.name, 'select created_at::float8 as time from drizzle.__drizzle_migrations');
    assert.deepEqual(
      applied.map(({ time }) => time).sort(),
      journal.entries.map(({ when }: { when: number }) => when).sort(),
    );
    assert.deepEqual(await query(database.name, 'select name from teams'), [{ name: 'Before' }]);
    // A database made by the clone's migrations has the same columns as one that was upgraded.
    const fresh = await createDatabase('');
    try {
      sh(withHistory, 'npm run db:migrate', { DATABASE_URL: fresh.url });
      const columns = `select table_name, column_name, data_type, is_nullable from information_schema.columns
        where table_schema = 'public' order by 1, 2`;
      assert.deepEqual(await query(database.name, columns), await query(fresh.name, columns));
    } finally {
      await fresh.drop();
    }
  });

  test('is a commit from which the next upgrade starts, without a graft', () => {
    sh(withHistory, blocks(7));
    sh(withoutHistory, blocks(7, 8));
    for (const clone of [withHistory, withoutHistory]) {
      assert.equal(sh(clone, 'git merge-base HEAD v-to'), sh(clone, 'git rev-parse v-to^{commit}'));
      assert.equal(sh(clone, 'git status --porcelain'), '');
    }
  });
});
