"""The Python client of the document "WebSocket Real-Time Chat Streaming", with what it prints as
its result.

python chat_script.py URI TOKEN QUESTION
"""

import asyncio
import json
import sys

import websockets


async def chat_stream(uri: str, token: str, question: str) -> None:
    async with websockets.connect(uri) as websocket:
        # Authenticate
        await websocket.send(json.dumps({"type": "auth", "token": token}))

        # Wait for auth response
        auth_response = await websocket.recv()
        auth_data = json.loads(auth_response)

        if auth_data["type"] != "auth_success":
            print("Authentication failed")
            return

        print("Authenticated!")

        # Send message
        await websocket.send(
            json.dumps({"type": "message", "message": question, "session_id": "python-session-1"})
        )

        # Receive responses
        accumulated = ""

        async for message in websocket:
            data = json.loads(message)

            if data["type"] == "progress":
                print(f"[{data['step']}] {data['message']}")

            elif data["type"] == "token":
                print(data["token"], end="", flush=True)
                accumulated += data["token"]

            elif data["type"] == "complete":
                print("\n\nComplete!")
                print(f"Response: {data['response']}")
                print(f"Agent: {data['metadata']['agent']}")
                print(f"Equal: {accumulated == data['response']}")
                break

            elif data["type"] == "error":
                print(f"Error: {data['error']}")
                break


asyncio.run(chat_stream(*sys.argv[1:4]))
