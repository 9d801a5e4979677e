"""The tables of courses."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COURSES = """
    CREATE TABLE courses (
        id uuid CONSTRAINT pk_courses PRIMARY KEY DEFAULT uuidv7(),
        key text NOT NULL,
        title text NOT NULL,
        version text,
        time_zone text NOT NULL,
        starts_at timestamptz,
        ends_at timestamptz,
        created_by uuid,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_courses_key UNIQUE (key),
        CONSTRAINT fk_courses_created_by FOREIGN KEY (created_by) REFERENCES users (id),
        CONSTRAINT ck_courses_dates CHECK (starts_at <= ends_at)
    );
    CREATE INDEX ix_courses_by_title ON courses (lower(title), id);

    CREATE TABLE course_teachers (
        course_id uuid NOT NULL,
        user_id uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_course_teachers PRIMARY KEY (course_id, user_id),
        CONSTRAINT fk_course_teachers_course_id FOREIGN KEY (course_id) REFERENCES courses (id) ON DELETE CASCADE,
        CONSTRAINT fk_course_teachers_user_id FOREIGN KEY (user_id) REFERENCES users (id)
    );
    CREATE INDEX ix_course_teachers_user_id ON course_teachers (user_id);
"""

CONTENT = """
    CREATE TABLE course_units (
        id uuid CONSTRAINT pk_course_units PRIMARY KEY DEFAULT uuidv7(),
        course_id uuid NOT NULL,
        key text NOT NULL,
        title text NOT NULL,
        position integer NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT uq_course_units_course_id_key UNIQUE (course_id, key),
        CONSTRAINT fk_course_units_course_id FOREIGN KEY (course_id) REFERENCES courses (id) ON DELETE CASCADE
    );

    CREATE TABLE course_lessons (
        id uuid CONSTRAINT pk_course_lessons PRIMARY KEY DEFAULT uuidv7(),
        course_id uuid NOT NULL,
        unit_id uuid NOT NULL,
        key text NOT NULL,
        title text NOT NULL,
        position integer NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT uq_course_lessons_course_id_key UNIQUE (course_id, key),
        CONSTRAINT fk_course_lessons_course_id FOREIGN KEY (course_id) REFERENCES courses (id) ON DELETE CASCADE,
        CONSTRAINT fk_course_lessons_unit_id FOREIGN KEY (unit_id) REFERENCES course_units (id)
    );
    CREATE INDEX ix_course_lessons_unit_id ON course_lessons (unit_id);

    CREATE TABLE course_items (
        id uuid CONSTRAINT pk_course_items PRIMARY KEY DEFAULT uuidv7(),
        course_id uuid NOT NULL,
        lesson_id uuid NOT NULL,
        key text NOT NULL,
        title text NOT NULL,
        format text NOT NULL,
        competencies text[] NOT NULL DEFAULT '{}',
        position integer NOT NULL,
        deleted_at timestamptz,
        CONSTRAINT uq_course_items_course_id_key UNIQUE (course_id, key),
        CONSTRAINT fk_course_items_course_id FOREIGN KEY (course_id) REFERENCES courses (id) ON DELETE CASCADE,
        CONSTRAINT fk_course_items_lesson_id FOREIGN KEY (lesson_id) REFERENCES course_lessons (id),
        CONSTRAINT ck_course_items_format CHECK (
            format IN ('COLLECTION', 'ASSESSMENT', 'COLLECTION_EXTERNAL', 'ASSESSMENT_EXTERNAL')
        )
    );
    CREATE INDEX ix_course_items_lesson_id ON course_items (lesson_id);
"""

CLASSES = """
    CREATE TABLE classes (
        id uuid CONSTRAINT pk_classes PRIMARY KEY DEFAULT uuidv7(),
        course_id uuid,
        name text NOT NULL,
        teacher_id uuid NOT NULL,
        rescope_enabled boolean NOT NULL DEFAULT false,
        is_archived boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT fk_classes_course_id FOREIGN KEY (course_id) REFERENCES courses (id),
        CONSTRAINT fk_classes_teacher_id FOREIGN KEY (teacher_id) REFERENCES users (id)
    );
    CREATE INDEX ix_classes_course_id ON classes (course_id);
    CREATE INDEX ix_classes_teacher_id ON classes (teacher_id);

    CREATE TABLE class_co_teachers (
        class_id uuid NOT NULL,
        user_id uuid NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_class_co_teachers PRIMARY KEY (class_id, user_id),
        CONSTRAINT fk_class_co_teachers_class_id FOREIGN KEY (class_id) REFERENCES classes (id) ON DELETE CASCADE,
        CONSTRAINT fk_class_co_teachers_user_id FOREIGN KEY (user_id) REFERENCES users (id)
    );
    CREATE INDEX ix_class_co_teachers_user_id ON class_co_teachers (user_id);
"""

ENROLLMENTS = """
    CREATE TABLE enrollments (
        id uuid CONSTRAINT pk_enrollments PRIMARY KEY DEFAULT uuidv7(),
        class_id uuid NOT NULL,
        user_id uuid,
        email text,
        status text NOT NULL,
        sort_name text NOT NULL,
        change_id uuid NOT NULL,
        enrolled_at timestamptz,
        dropped_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT fk_enrollments_class_id FOREIGN KEY (class_id) REFERENCES classes (id),
        CONSTRAINT fk_enrollments_user_id FOREIGN KEY (user_id) REFERENCES users (id),
        CONSTRAINT ck_enrollments_status CHECK (status IN ('PENDING', 'ACTIVE', 'DROPPED')),
        CONSTRAINT ck_enrollments_pending_waits_for_email CHECK (
            status <> 'PENDING' OR (email IS NOT NULL AND user_id IS NULL AND enrolled_at IS NULL)
        ),
        CONSTRAINT ck_enrollments_active_has_user CHECK (
            status <> 'ACTIVE' OR (user_id IS NOT NULL AND enrolled_at IS NOT NULL)
        ),
        CONSTRAINT ck_enrollments_dropped_has_instant CHECK ((status = 'DROPPED') = (dropped_at IS NOT NULL)),
        CONSTRAINT ck_enrollments_somebody CHECK (user_id IS NOT NULL OR email IS NOT NULL),
        CONSTRAINT ck_enrollments_email_lower CHECK (email = lower(email))
    );
    CREATE UNIQUE INDEX uq_enrollments_active ON enrollments (class_id, user_id) WHERE status = 'ACTIVE';
    CREATE UNIQUE INDEX uq_enrollments_pending ON enrollments (class_id, email) WHERE status = 'PENDING';
    CREATE INDEX ix_enrollments_by_name ON enrollments (class_id, sort_name, id);
    CREATE INDEX ix_enrollments_user_id ON enrollments (user_id);
    CREATE INDEX ix_enrollments_pending_email ON enrollments (email) WHERE status = 'PENDING';
"""

# A roster is paged by name, so the name is in its index; a trigger keeps the copy right wherever a name is changed.
NAMES_FOLLOW = """
    CREATE FUNCTION enrollments_follow_names() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE enrollments SET sort_name = lower(NEW.name) WHERE user_id = NEW.id;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER users_name_changed AFTER UPDATE OF name ON users
        FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION enrollments_follow_names();
"""


def upgrade() -> None:
    for statements in (COURSES, CONTENT, CLASSES, ENROLLMENTS):
        for statement in statements.split(";"):
            if statement.strip():
                op.execute(statement)
    function, trigger = NAMES_FOLLOW.split("$$;")
    op.execute(f"{function}$$")
    op.execute(trigger.strip().rstrip(";"))


def downgrade() -> None:
    op.execute("DROP TRIGGER users_name_changed ON users")
    op.execute("DROP FUNCTION enrollments_follow_names()")
    op.execute(
        "DROP TABLE enrollments, class_co_teachers, classes, course_items, course_lessons, course_units, "
        "course_teachers, courses"
    )
