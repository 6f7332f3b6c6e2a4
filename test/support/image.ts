// Tries the Dockerfile as far as possible without an engine: runs its steps in a folder in place of a root file system.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, linkSync, mkdirSync, mkdtempSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { type Copy, DockerfileParser, type From, type JSONInstruction, type PropertyInstruction } from 'dockerfile-ast';

/** The folder of the Dockerfile, which is the build's context. */
export const CONTEXT = join(import.meta.dirname, '../..');
export const DOCKERFILE = readFileSync(join(CONTEXT, 'Dockerfile'), 'utf8');

export type Image = {
  /** The folder that stands for `/`. */
  root: string;
  /** The working directory, within `root`. */
  directory: string;
  env: Record<string, string>;
  user: string;
  command: string[];
  healthCheck: string[];
  ports: string[];
};

/** Returns the names of the images that the stages start from. */
export const baseImages = (): (string | null)[] =>
  DockerfileParser.parse(DOCKERFILE)
    .getFROMs()
    .map((from) => from.getImage());

/** Runs every step of the Dockerfile in `folder` and returns its last stage. Throws on an unknown instruction. */
export function buildImage(folder: string): Image {
  // Users other than root must be able to enter.
  chmodSync(folder, 0o755);
  const stages = new Map<string, Image>();
  let stage: Image | undefined;
  for (const instruction of DockerfileParser.parse(DOCKERFILE).getInstructions()) {
    const text = instruction.getRawArgumentsContent() ?? '';
    const keyword = instruction.getKeyword();
    if (keyword === 'FROM') {
      stage = emptyStage(mkdtempSync(join(folder, 'stage-')));
      stages.set((instruction as From).getBuildStage() ?? '', stage);
      continue;
    }
    if (!stage) throw new Error(`${keyword} before FROM`);
    switch (keyword) {
      case 'WORKDIR':
        stage.directory = within(stage, text);
        mkdirSync(stage.directory, { recursive: true });
        break;
      case 'COPY': {
        const from = /^--from=(.+)$/.exec((instruction as Copy).getFlags().join(' '))?.[1];
        copy(
          stage,
          instruction.getArguments().map((argument) => argument.getValue()),
          from ? stages.get(from) : undefined,
        );
        break;
      }
      case 'RUN':
        execFileSync('/bin/sh', ['-c', text], { cwd: stage.directory, env: buildEnv(stage), stdio: 'pipe' });
        break;
      case 'ENV':
        for (const property of (instruction as PropertyInstruction).getProperties()) {
          stage.env[property.getName()] = property.getValue() ?? '';
        }
        break;
      case 'USER':
        stage.user = text;
        break;
      case 'EXPOSE':
        stage.ports.push(text);
        break;
      case 'HEALTHCHECK':
        stage.healthCheck = JSON.parse(text.slice(text.indexOf('CMD ') + 4));
        break;
      case 'CMD':
        stage.command = (instruction as JSONInstruction).getJSONStrings().map((string) => string.getJSONValue());
        break;
      default:
        throw new Error(`${keyword} is not known here`);
    }
  }
  if (!stage) throw new Error('there is no FROM');
  return stage;
}

/** Creates a stage like the base image: nothing but Node in its place, in the version of this process. */
function emptyStage(root: string): Image {
  chmodSync(root, 0o755);
  const bin = join(root, 'usr/local/bin');
  mkdirSync(bin, { recursive: true });
  try {
    linkSync(process.execPath, join(bin, 'node'));
  } catch {
    copyFileSync(process.execPath, join(bin, 'node'));
  }
  return {
    root,
    directory: root,
    env: { PATH: `${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` },
    user: 'root',
    command: [],
    healthCheck: [],
    ports: [],
  };
}

const within = (stage: Image, path: string) =>
  path.startsWith('/') ? join(stage.root, path) : resolve(stage.directory, path);

function copy(stage: Image, paths: string[], from: Image | undefined): void {
  const target = paths.pop() as string;
  for (const path of paths) {
    const source = from ? within(from, path) : join(CONTEXT, path);
    if (!from && !inContext(path)) throw new Error(`${path} is not in the context: see .dockerignore`);
    // The contents of a folder are copied; a file is copied into a folder.
    const to = within(stage, target);
    cpSync(source, target.endsWith('/') && statSync(source).isFile() ? join(to, basename(path)) : to, {
      recursive: true,
    });
  }
}

/** Whether .dockerignore lets `path` in: the file excludes everything, then names the exceptions. */
export function inContext(path: string): boolean {
  const lines = readFileSync(join(CONTEXT, '.dockerignore'), 'utf8').split('\n');
  const [first, ...rest] = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (first !== '*' || !rest.every((line) => /^![^*?[/]+$/.test(line)))
    throw new Error('.dockerignore has another form');
  return rest.includes(`!${path.split('/')[0]}`);
}

// Packages come from this machine's registry, or from its cache if they are in it.
function buildEnv(stage: Image): Record<string, string | undefined> {
  const npm = Object.entries(process.env).filter(([name]) => /^npm_config_(registry|userconfig|cache)$/i.test(name));
  const { PATH, HOME } = process.env;
  return {
    ...Object.fromEntries(npm),
    HOME,
    npm_config_prefer_offline: 'true',
    ...stage.env,
    PATH: `${join(stage.root, 'usr/local/bin')}:${PATH}`,
  };
}
