"""The people of the demo: ten to sign in as, and a thousand learners."""

from collections.abc import Mapping
from itertools import product
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from db.accounts import commands as accounts
from db.accounts.models import Team, User
from db.accounts.queries import authenticate
from db.accounts.rules import Role, Viewer, hash_token
from db.session import Database, Tx

LABEL = "Demo"
TEAM = "Help desk"

# name → (what they are called, their roles); `up` prints what each is for.
CAST = {
    "admin": ("Ada Osei", (Role.ADMIN,)),
    "editor": ("Emil Varga", (Role.EDITOR,)),
    "teacher": ("Tamara Lindqvist", (Role.MEMBER,)),
    "co_teacher": ("Cosmo Adeyemi", (Role.MEMBER,)),
    "learner": ("Lena Abbott", (Role.MEMBER,)),
    "other_learner": ("Oskar Abreu", (Role.MEMBER,)),
    "outsider": ("Otis Unger", (Role.MEMBER,)),
    "team_admin": ("Teo Marchetti", (Role.MEMBER,)),
    "team_member": ("Mina Sørensen", (Role.MEMBER,)),
    "service": ("Grade book", (Role.SERVICE,)),
}

_FIRST = (
    "Aisha Alba Amir Anouk Arjun Bao Bruno Carla Chidi Daria Dmitri Elif Emre Esther Farah Felix Gita "
    "Hana Hugo Ines Ivo Jana Jonas Kaito Kofi Lara Leon Lotte Malik Maya Milan Nadia"
)
_LAST = (
    "Acosta Bakker Banerjee Becker Cohen Costa Diallo Dubois Eriksen Fischer Flores Garcia Haddad Horvat "
    "Ito Jansen Kaya Keller Khan Kovacs Laine Lopez Maier Mensah Mori Nagy Novak Okafor Olsen Park Petrov "
    "Quinn Rossi Sato Silva Tanaka"
)


def address_of(name: str) -> str:
    """The address of somebody in the demo."""
    return f"{name.replace('_', '-')}@demo.example"


async def make_cast(tx: Tx) -> dict[str, Viewer]:
    """The ten, made where they are not there yet."""
    made = {}
    for name, (called, roles) in CAST.items():
        user_id = await accounts.ensure_user(tx, name=called, email=address_of(name), roles=roles)
        made[name] = Viewer(user_id, called, frozenset(roles))
    return made


async def make_team(tx: Tx, people: Mapping[str, Viewer]) -> None:
    """The team, made where it is not there yet."""
    if (await tx.execute(select(Team.id).where(Team.name == TEAM))).first() is None:
        member, boss = people["team_member"], people["team_admin"]
        await accounts.create_team(
            tx, actor=people["admin"], name=TEAM, member_ids=[member.user_id], admin_ids=[boss.user_id]
        )


async def make_learners(tx: Tx, count: int) -> list[UUID]:
    """So many learners with names and addresses, in one statement."""
    # Strides that share no factor with the lists' lengths: neighbours in the roster have different names.
    names = [f"{first} {last}" for first, last in product(_FIRST.split(), _LAST.split())]
    rows = [
        {"name": names[n * 37 % len(names)], "email": address_of(f"learner{n:04}"), "roles": [Role.MEMBER]}
        for n in range(count)
    ]
    return list(await tx.scalars(insert(User).values(rows).returning(User.id)))


async def tokens_of(database: Database, people: Mapping[str, Viewer], known: Mapping[str, str]) -> dict[str, str]:
    """A token for each: that of `known` while it is good, else one more.

    Nobody's token is revoked here: who runs this may not be the one who works with it.
    """
    tokens = {}
    for name, viewer in people.items():
        secret = known.get(name, "")
        found = await authenticate(database.reader, token_hash=hash_token(secret))
        if found is None or found.user_id != viewer.user_id:
            async with database.transaction() as tx:
                issued = await accounts.issue_token(tx, user_id=viewer.user_id, name=LABEL, roles=viewer.roles)
            secret = issued.secret
        tokens[name] = secret
    return tokens
