// The two files of undici that we load, which its types do not name.
declare module 'undici/lib/core/connect.js' {
  export { buildConnector as default } from 'undici/index.js';
}
declare module 'undici/lib/dispatcher/pool.js' {
  export { Pool as default } from 'undici/index.js';
}
