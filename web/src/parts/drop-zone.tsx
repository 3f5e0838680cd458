import type { ComponentChildren } from 'preact';
import { useRef, useState } from 'preact/hooks';

/** Not in the types that Preact has for inputs. */
const foldersOnly = { webkitdirectory: true };

/** A place to drop files on, which is a button too. */
export function DropZone({
  label,
  accept,
  multiple = false,
  disabled = false,
  big = false,
  folderLabel,
  onFiles,
  children,
}: {
  label: string;
  accept: string;
  multiple?: boolean;
  disabled?: boolean;
  big?: boolean;
  /** There is a button for folders too, which says this. */
  folderLabel?: string;
  onFiles: (files: File[]) => void;
  children: ComponentChildren;
}) {
  const [over, setOver] = useState(false);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping is a shortcut for the button inside.
    <div
      class={`drop ${big ? 'big' : ''} ${over ? 'over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(!disabled);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={async (event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        if (disabled || !event.dataTransfer) return;
        const files = await droppedFiles(event.dataTransfer);
        if (files.length) onFiles(multiple ? files : files.slice(0, 1));
      }}
    >
      {children}
      <Chooser label={label} disabled={disabled} onFiles={onFiles} accept={accept} multiple={multiple} />
      {folderLabel !== undefined && (
        <Chooser label={folderLabel} disabled={disabled} onFiles={onFiles} {...foldersOnly} />
      )}
    </div>
  );
}

/** A button that opens the system's dialog for files. `kind`: the files that may be chosen there. */
function Chooser({
  label,
  disabled,
  onFiles,
  ...kind
}: {
  label: string;
  disabled: boolean;
  onFiles: (files: File[]) => void;
  accept?: string;
  multiple?: boolean;
}) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" disabled={disabled} onClick={() => input.current?.click()}>
        {label}
      </button>
      <input
        ref={input}
        type="file"
        class="visually-hidden"
        tabIndex={-1}
        aria-label={label}
        disabled={disabled}
        {...kind}
        onChange={({ currentTarget: chosen }) => {
          const files = [...(chosen.files ?? [])];
          chosen.value = '';
          if (files.length) onFiles(files);
        }}
      />
    </>
  );
}

/** Files that were dropped, those in folders included. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  const files: File[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      files.push(
        await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)),
      );
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const batch = await new Promise<FileSystemEntry[]>((resolve, reject) =>
        reader.readEntries(resolve, reject),
      );
      if (batch.length === 0) return;
      for (const inner of batch) await walk(inner);
    }
  };
  for (const entry of entries) if (entry) await walk(entry);
  return files.sort((a, b) => a.name.localeCompare(b.name));
}
