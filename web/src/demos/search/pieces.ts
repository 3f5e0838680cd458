// Sentences as numbers of pieces of words, as bench/prepare/sentences.py makes them to train the network.
import { Tokenizer } from '@huggingface/tokenizers';

/** The network reads so many pieces of a sentence. */
export const mostPieces = 64;
/** A piece that it does not know. */
const unknown = 1;

/** Signs of print, and the signs of the text that the network was trained on. */
const plain = { '’': "'", '‘': "'", '“': '"', '”': '"', '–': '-', '—': '-', '…': '...' };

export interface Encoded {
  /** At least one. */
  ids: readonly number[];
  /** The sentence has more pieces than the network reads. */
  isCut: boolean;
}

/** A function that makes numbers of sentences. `pieces`: one in a line, in the order of their numbers. */
export function encoderOf(pieces: string): (sentence: string) => Encoded {
  const tokenizer = new Tokenizer(
    {
      normalizer: {
        type: 'Sequence',
        normalizers: [
          ...Object.entries(plain).map(([sign, content]) => ({
            type: 'Replace',
            pattern: { String: sign },
            content,
          })),
          {
            type: 'BertNormalizer',
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents: null,
            lowercase: true,
          },
        ],
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      added_tokens: [],
      post_processor: null,
      decoder: null,
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(
          pieces
            .trimEnd()
            .split('\n')
            .map((piece, number) => [piece, number]),
        ),
      },
    },
    {},
  );
  return (sentence) => {
    const { ids } = tokenizer.encode(sentence, { add_special_tokens: false });
    return { ids: ids.length ? ids.slice(0, mostPieces) : [unknown], isCut: ids.length > mostPieces };
  };
}
