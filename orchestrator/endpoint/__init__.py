"""Model endpoints that speak OpenAI's chat completions, each with its own accent.

`client` sends requests and reads streams, `request` fits a request to what an endpoint accepts,
`reading` takes the body apart, `completion` and `thoughts` bring what was sent into one form. All
but `client` are pure. The peculiarities that are known are listed in `docs/endpoints.md`, each with
its test.
"""
