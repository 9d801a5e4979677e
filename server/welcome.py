"""What `up` prints when everything is ready: where to look, whom to be, and what to ask."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

ROLES = {
    "admin": "may do everything",
    "editor": "edits courses, plans and releases",
    "teacher": "teaches the demo classes",
    "co_teacher": "teaches one of them too",
    "learner": "is in a demo class",
    "other_learner": "is in the same class",
    "outsider": "is in none of them",
    "team_admin": "runs a team",
    "team_member": "works in it",
    "service": "another program",
}

QUERIES = (
    (
        "teacher",
        "The courses of the one who asks, with their classes and plans",
        "{ viewer { user { name } courses { title classes { name } plans(first: 5) { nodes { id title state } } } } }",
    ),
    (
        "learner",
        "What there is to do",
        "{ viewer { taskCounts { assigned overdue } tasks(first: 5) { nodes { title status dueAt isReady } } } }",
    ),
    (
        "admin",
        "What the workers did and do",
        "{ jobs(first: 5) { nodes { kind status progress attempt requestedBy { name } } } }",
    ),
)


def welcome(console: Console, url: str, tokens: Mapping[str, str], data: Path, seconds: float) -> None:
    """Print all of it. Lines to copy stand alone, without a frame."""
    console.print(f"\n[bold green]Ready[/] after {seconds:.1f} s:  [bold]{escape(url)}/graphiql[/]\n")
    if tokens:
        console.print("Sign in with one of these tokens (the token box in GraphiQL, or `Authorization: Bearer …`):")
        for name, token in tokens.items():
            console.print(f"  {name:<14}[bold]{escape(token)}[/]  [dim]{ROLES.get(name, '')}[/]")
        console.print("\nThree queries to paste:")
        for name, purpose, query in QUERIES:
            console.print(f"  [dim]# {escape(purpose)} (as {name})[/]")
            console.print(f"  {query}", markup=False)
    else:
        console.print("Demo data was not loaded: this database has people of its own. `python -m server token WHO`")
        console.print("lets one of them in; `python -m server demo` loads the demo data all the same.")
    console.print(f"\nData and logs are in {escape(str(data))}. ^C stops everything.\n")
