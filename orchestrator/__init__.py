"""The engine, what it executes, and its vocabulary: events, errors, requests, models, profiles."""
