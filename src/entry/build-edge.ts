// Run by wrangler: [build] in wrangler.toml.
import { writeEdgeFiles } from './edge-files.ts';

await writeEdgeFiles();
