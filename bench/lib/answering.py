"""A program of the bench that is asked by lines of JSON on standard input, and answers each with one."""

import json
import os
import sys


def answer_commands(commands):
    """`commands`: by the name that a line has as "do", the function that takes the line and gives the answer."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command["do"]](command)
        except Exception as error:
            text = " ".join((str(error).split("Stack backtrace")[0].strip() or repr(error)).split())
            answer = {"error": f"{type(error).__name__}: {text}"[:600]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
