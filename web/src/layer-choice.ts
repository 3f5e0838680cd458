// What becomes of a single layer: set by options that there are, `exclude` and `precision`.
import { excluded, isCalibrated, isOnlyForWeights, type Settings } from './settings.ts';

export interface LayerChoice {
  id: 'chosen' | 'float' | '16' | '8' | '4' | 'out';
  title: string;
}

type Precision = Readonly<Record<string, { activations: string; weights: string }>>;

const precisions = (settings: Settings): Precision => (settings.more.precision ?? {}) as Precision;

/** What a layer can become in this mode. `hasWeight`: fewer than 8 bits are for weights. */
export function layerChoices({ mode }: Settings, hasWeight: boolean): LayerChoice[] {
  const calibrated = isCalibrated({ mode } as Settings);
  const weights = mode === 'weight-only';
  return [
    { id: 'chosen', title: 'As the rest' },
    { id: 'float', title: 'Float' },
    ...(calibrated || weights ? [{ id: '16', title: '16 bits' } as const] : []),
    ...(calibrated || weights || mode === 'dynamic' ? [{ id: '8', title: '8 bits' } as const] : []),
    ...(hasWeight && (calibrated || weights) ? [{ id: '4', title: '4 bits' } as const] : []),
    { id: 'out', title: 'Leave out' },
  ];
}

function precisionOf(settings: Settings, id: LayerChoice['id']): { activations: string; weights: string } {
  const { mode, activations, weights } = settings;
  if (id === 'float') return { activations: 'float', weights: 'float' };
  const eight = isOnlyForWeights(settings) ? 'int8' : weights;
  if (mode === 'weight-only')
    return { activations: 'float', weights: id === '16' ? 'float16' : id === '4' ? 'int4' : eight };
  const isSigned = activations.startsWith('int');
  if (id === '16') return { activations: isSigned ? 'int16' : 'uint16', weights: eight };
  return { activations: isSigned ? 'int8' : 'uint8', weights: id === '4' ? 'int4' : eight };
}

/** The choice for a layer; undefined: its options are none of these choices. */
export function layerChoiceOf(settings: Settings, layer: string): LayerChoice['id'] | undefined {
  if (excluded(settings).includes(layer)) return 'out';
  const own = precisions(settings)[layer];
  if (!own) return 'chosen';
  return (['float', '16', '8', '4'] as const).find((id) => {
    const { activations, weights } = precisionOf(settings, id);
    return activations === own.activations && weights === own.weights;
  });
}

export function withLayerChoice(settings: Settings, layer: string, id: LayerChoice['id']): Settings {
  const { [layer]: _, ...others } = precisions(settings);
  const left = excluded(settings).filter((name) => name !== layer);
  const own: Precision =
    id === 'chosen' || id === 'out' ? others : { ...others, [layer]: precisionOf(settings, id) };
  const { precision: __, ...more } = settings.more;
  return {
    ...settings,
    picked: undefined,
    exclude: [...left, ...(id === 'out' ? [layer] : [])].join(', '),
    more: Object.keys(own).length ? { ...more, precision: own } : more,
  };
}
