"""The wire: HTTP, WebSocket, dialects, logins, the command line. Nothing else knows the web."""
