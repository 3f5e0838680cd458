// Sound files, decoded by the browser.

/** What models of speech take, in samples a second. */
export const soundRate = 16_000;

/** One channel at `soundRate`, -1...1, of any file that the browser can play. */
export async function decodeSound(file: ArrayBuffer): Promise<Float32Array<ArrayBuffer>> {
  // Decoding brings it to the rate of its context.
  const context = new OfflineAudioContext(1, 1, soundRate);
  const sound = await context.decodeAudioData(file);
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; ++channel) {
    sound.getChannelData(channel).forEach((value, i) => {
      mixed[i] = (mixed[i] as number) + value / sound.numberOfChannels;
    });
  }
  return mixed;
}
