import { useEffect, useMemo } from 'preact/hooks';

/** An address for a picture, as long as it is shown. */
export function usePicture(blob: Blob | undefined): string | undefined {
  const url = useMemo(() => blob && URL.createObjectURL(blob), [blob]);
  useEffect(() => () => url && URL.revokeObjectURL(url), [url]);
  return url;
}
