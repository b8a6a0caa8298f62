"""The wire: HTTP, WebSocket, dialects, authentication, the command line. The only package that knows the web."""
