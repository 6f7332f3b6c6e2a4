// Two files of undici that its types do not declare.
declare module 'undici/lib/core/connect.js' {
  export { buildConnector as default } from 'undici/index.js';
}
declare module 'undici/lib/llhttp/llhttp-wasm.js' {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** As much of it as llhttp needs: without the types of the DOM there is none. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
  }
  class Memory {
    readonly buffer: ArrayBuffer;
  }
  class Instance {
    constructor(module: Module, imports: Record<string, object>);
    readonly exports: unknown;
  }
}
