// What wrangler uploads beside the script. Run by wrangler itself: [build] in wrangler.toml.
import { buildAssets } from './edge-assets.ts';

await buildAssets();
