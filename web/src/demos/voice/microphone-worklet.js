// Hands on what the microphone gives, from the thread that sound is computed in. It is loaded as it stands here.
const length = 1024;

class Microphone extends AudioWorkletProcessor {
  #piece = new Float32Array(length);
  #filled = 0;

  process([[channel] = []]) {
    // A microphone that is muted gives no channel for a while.
    for (const value of channel ?? []) {
      this.#piece[this.#filled++] = value;
      if (this.#filled < length) continue;
      this.port.postMessage(this.#piece, [this.#piece.buffer]);
      this.#piece = new Float32Array(length);
      this.#filled = 0;
    }
    return true;
  }
}

registerProcessor('microphone', Microphone);
