/** Reads the parts of a WebAssembly module or object; see https://webassembly.github.io/spec/core/binary/modules.html. */
export class WasmReader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte() {
    return this.bytes[this.at++];
  }
  /** LEB128; of signed ones only the length is right. */
  number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
  text() {
    const length = this.number();
    this.at += length;
    return this.bytes.toString('utf8', this.at - length, this.at);
  }
  #limits() {
    const flags = this.byte();
    this.number();
    if (flags & 1) this.number();
  }
  /** A section of imports: the names of the functions among them. */
  importedFunctions() {
    const names = [];
    for (let left = this.number(); left > 0; --left) {
      this.text();
      const name = this.text();
      const kind = this.byte();
      if (kind === 0) {
        names.push(name);
        this.number();
      } else if (kind === 1) {
        this.byte();
        this.#limits();
      } else if (kind === 2) {
        this.#limits();
      } else {
        this.byte(); // a global's type and whether it changes, or a tag's attribute and type
        this.number();
      }
    }
    return names;
  }
}
