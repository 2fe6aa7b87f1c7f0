"""Serve the venue over HTTP and WebSocket: parse, check signatures, hand commands to the sequencer, read the rest.

    services.py   what the gateway is given        schemas.py     shapes of the API
    app.py        create_app                       signatures.py  who signed this
    routes/       one file per part of the API     stream.py      channels; one client: stream_client.py
    errors.py     reason → HTTP status and body    recorder.py    what the chain did, to read model and stream
    views.py      engine and read model → schemas  page/          the web page, plain ES modules

Must not: hold state that matters, decide about orders, block the event loop.

    Rejected
    └── ApiError        what a client is told, with its HTTP status
"""
