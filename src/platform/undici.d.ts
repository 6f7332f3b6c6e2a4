// Two files of undici that its types do not declare.
declare module 'undici/lib/core/connect.js' {
  export { buildConnector as default } from 'undici/index.js';
}
declare module 'undici/lib/dispatcher/pool.js' {
  export { Pool as default } from 'undici/index.js';
}
