// Closes ways out of the page that no Content-Security-Policy closes, as far as that is possible. headers.ts closes all others.

export function closeWaysOut(): void {
  // A connection to another browser, or to a server that mediates one.
  for (const name of ['RTCPeerConnection', 'webkitRTCPeerConnection']) Reflect.deleteProperty(window, name);

  // The address of another site, gone to by a script: it could carry something. Links that a visitor follows do go.
  (window.navigation as Navigation | undefined)?.addEventListener('navigate', (event) => {
    const to = new URL(event.destination.url).origin;
    if (!event.userInitiated && to !== location.origin) event.preventDefault();
  });
}
