// Preloaded with --import: when the process ends, writes what it has loaded to the file LOADED_FILES, one URL per line.
import { writeFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const urls = [];
registerHooks({
  load(url, context, next) {
    urls.push(url);
    return next(url, context);
  },
});
process.on('exit', () => writeFileSync(process.env.LOADED_FILES, urls.join('\n')));
