/*
 * The mechanical work of each SIP message: bytes to a message, the stamp of its source, a message to bytes.
 *
 * Optional: each function does what a Python function of mizu.sip does, for the usual case, and answers
 * None for everything with a surprise in it; the Python function then decides. So nothing is accepted or
 * refused here that is not there, and the tests hold both to the same answers. See mizu/native.py.
 *
 * Objects of Python classes with __slots__ are made by copying a template object and writing slots: bind()
 * learns where they are.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>
#include <structmember.h>
#ifdef PYPY_VERSION
#error "objects are laid out otherwise here; the Python way is taken"
#endif

#define SLOTS_MAX 32
#define NAMES_BITS 12 /* the table of spellings has so many bits of places, several times what is needed */
#define NAMES_PLACES (1 << NAMES_BITS)
#define NAMES_MAX (NAMES_PLACES / 2)

/* ------------------------------------------------------------------ characters (RFC 3261 25.1) */

enum { TOKEN = 1, CONTROL = 2, DIGIT = 4, LETTER = 8, HOST = 16, HOST_END = 32, SPACE = 64, HEX = 128 };
static unsigned char kind_of[256];

static void
fill_characters(void)
{
    int c;
    const char *other = "-.!%*_+`'~";

    for (c = 0; c < 256; c++) {
        int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
        kind_of[c] = (unsigned char)(
            (letter ? LETTER | TOKEN | HOST | HOST_END : 0) | (digit ? DIGIT | TOKEN | HOST | HOST_END : 0) |
            ((c < 32 && c != '\t') || c == 127 ? CONTROL : 0) |
            (c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31) ? SPACE : 0) |
            (digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ? HEX : 0));
    }
    for (; *other; other++)
        kind_of[(unsigned char)*other] |= TOKEN;
    kind_of['_'] |= HOST | HOST_END;
    kind_of['.'] |= HOST | HOST_END;
    kind_of['-'] |= HOST;
}

static int
all_of(const char *p, Py_ssize_t n, int kind)
{
    Py_ssize_t i;

    for (i = 0; i < n; i++)
        if (!(kind_of[(unsigned char)p[i]] & kind))
            return 0;
    return 1;
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* ------------------------------------------------------------------ interned words */

typedef struct {
    PyObject *name; /* as it is spelled; NULL: place is free */
    PyObject *key;
    int single; /* a message may have it once */
} Name;

static Name names[NAMES_PLACES];
static int names_count;
static PyObject *s_via, *s_from, *s_to, *s_call_id, *s_cseq, *s_content_length, *s_contact, *s_max_forwards, *s_record_route;
static PyObject *s_rport, *s_received, *s_tag;
static PyObject *words; /* tuple of methods and usual parameter names */
static PyObject *digest_words; /* tuple of names of digest parameters, and frequent values */
static PyObject *single_keys; /* frozenset */
static PyObject *call_via, *call_cseq, *bad_message;

static unsigned
hash_of(const char *p, Py_ssize_t n)
{
    unsigned h = 2166136261u ^ (unsigned)n;
    Py_ssize_t i;

    for (i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    return (h ^ (h >> NAMES_BITS)) & (NAMES_PLACES - 1);
}

/* Text of an ASCII str that is in a table of ours. */
static const char *
ascii(PyObject *text, Py_ssize_t *n)
{
    *n = PyUnicode_GET_LENGTH(text);
    return (const char *)PyUnicode_1BYTE_DATA(text);
}

static int
plain_ascii(PyObject *text)
{
    return PyUnicode_CheckExact(text) && PyUnicode_IS_COMPACT_ASCII(text);
}

static Name *
name_at(const char *p, Py_ssize_t n)
{
    unsigned at = hash_of(p, n);

    while (names[at].name != NULL) {
        Py_ssize_t length;
        const char *text = ascii(names[at].name, &length);
        if (length == n && memcmp(text, p, (size_t)n) == 0)
            return &names[at];
        at = (at + 1) & (NAMES_PLACES - 1);
    }
    return &names[at];
}

static PyObject *
new_ascii(const char *p, Py_ssize_t n)
{
    PyObject *text;

    if (n < 2)
        return PyUnicode_FromStringAndSize(p, n); /* one of the interpreter's own */
    text = PyUnicode_New(n, 127);
    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), p, (size_t)n);
    return text;
}

static PyObject *
new_text(const char *p, Py_ssize_t n, int is_ascii)
{
    return is_ascii ? new_ascii(p, n) : PyUnicode_DecodeUTF8(p, n, "surrogateescape");
}

/* A token: an interned one if it is frequent. */
static PyObject *
new_word(PyObject *table, const char *p, Py_ssize_t n)
{
    Py_ssize_t i;

    for (i = 0; i < PyTuple_GET_SIZE(table); i++) {
        Py_ssize_t length;
        const char *text = ascii(PyTuple_GET_ITEM(table, i), &length);
        if (length == n && memcmp(text, p, (size_t)n) == 0)
            return Py_NewRef(PyTuple_GET_ITEM(table, i));
    }
    return new_ascii(p, n);
}

/* In lower case; longer than the buffer: NULL without an exception set, which callers take for a surprise. */
static PyObject *
new_lower(PyObject *table, const char *p, Py_ssize_t n)
{
    char buffer[64];
    Py_ssize_t i;

    if (n > (Py_ssize_t)sizeof buffer)
        return NULL;
    for (i = 0; i < n; i++)
        buffer[i] = lower(p[i]);
    return new_word(table, buffer, n);
}

/* ------------------------------------------------------------------ classes with slots */

typedef struct {
    PyTypeObject *type;
    PyObject *template;
    int count;
    Py_ssize_t offsets[SLOTS_MAX];
} Class;

static Class request_class, response_class, via_class, cseq_class, address_class, credentials_class;

typedef struct {
    Py_ssize_t method, uri, fields, first, body, via, cseq, from, to, contacts;
} MessageSlots;

static MessageSlots of_request, of_response;
static struct { Py_ssize_t proto, host, port, params, text; } of_via;
static struct { Py_ssize_t number, method; } of_cseq;
static struct { Py_ssize_t display, params, uri_text; } of_address;
static struct {
    Py_ssize_t algorithm, cnonce, nc, nc_text, nonce, qop, realm, response, uri, username;
} of_credentials;
#define SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* Takes the reference. */
static void
put(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject *old = SLOT(object, offset);

    SLOT(object, offset) = value;
    Py_XDECREF(old);
}

static PyObject *
new_object(const Class *class)
{
    PyObject *made;
    int i;

    if (class->type == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "mizu._messages: class is not bound");
        return NULL;
    }
    made = class->type->tp_alloc(class->type, 0);
    if (made == NULL)
        return NULL;
    for (i = 0; i < class->count; i++)
        SLOT(made, class->offsets[i]) = Py_XNewRef(SLOT(class->template, class->offsets[i]));
    return made;
}

/* Where a slot is; -1 with an exception. */
static Py_ssize_t
slot_of(PyTypeObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    Py_ssize_t offset = -1;

    if (found != NULL && Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        if (member->type == T_OBJECT_EX)
            offset = member->offset;
    }
    Py_XDECREF(found);
    if (offset < 0)
        PyErr_Format(PyExc_TypeError, "mizu._messages: %s has no slot %s", type->tp_name, name);
    return offset;
}

/* Learn every slot of a class, and take what a new object has in each from the template. */
static int
learn(Class *class, PyObject *template)
{
    PyTypeObject *type = Py_TYPE(template);
    PyObject *mro = type->tp_mro;
    Class made = {0}, old;
    Py_ssize_t i;

    if (type->tp_dictoffset != 0 || type->tp_itemsize != 0 || !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        PyErr_Format(PyExc_TypeError, "mizu._messages: %s is no class with slots alone", type->tp_name);
        return -1;
    }
    for (i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *base = PyTuple_GET_ITEM(mro, i), *space, *all;
        Py_ssize_t k;
        if (base == (PyObject *)&PyBaseObject_Type)
            continue;
        space = PyObject_GetAttrString(base, "__dict__");
        all = space == NULL ? NULL : PyMapping_Values(space);
        Py_XDECREF(space);
        if (all == NULL)
            return -1;
        for (k = 0; k < PyList_GET_SIZE(all); k++) {
            PyObject *each = PyList_GET_ITEM(all, k);
            PyMemberDef *member;
            if (!Py_IS_TYPE(each, &PyMemberDescr_Type))
                continue;
            member = ((PyMemberDescrObject *)each)->d_member;
            if (member->type != T_OBJECT_EX || made.count == SLOTS_MAX) {
                Py_DECREF(all);
                PyErr_Format(PyExc_TypeError, "mizu._messages: slots of %s are of another kind", type->tp_name);
                return -1;
            }
            made.offsets[made.count++] = member->offset;
        }
        Py_DECREF(all);
    }
    old = *class;
    made.type = (PyTypeObject *)Py_NewRef((PyObject *)type);
    made.template = Py_NewRef(template);
    *class = made;
    Py_XDECREF(old.template);
    Py_XDECREF((PyObject *)old.type);
    return 0;
}

/* A slot that functions here write to, and where its offset is kept. */
typedef struct {
    const char *name;
    Py_ssize_t *offset;
} Wanted;

static const struct {
    const char *which;
    Class *class;
    Wanted wanted[11]; /* the last one has no name */
} classes[] = {
    {"request",
     &request_class,
     {{"method", &of_request.method},
      {"uri", &of_request.uri},
      {"fields", &of_request.fields},
      {"_first", &of_request.first},
      {"body", &of_request.body},
      {"_via", &of_request.via},
      {"_cseq", &of_request.cseq},
      {"_from", &of_request.from},
      {"_to", &of_request.to},
      {"_contacts", &of_request.contacts}}},
    {"response",
     &response_class,
     {{"status", &of_response.method},
      {"reason", &of_response.uri},
      {"fields", &of_response.fields},
      {"_first", &of_response.first},
      {"body", &of_response.body},
      {"_via", &of_response.via},
      {"_cseq", &of_response.cseq},
      {"_from", &of_response.from},
      {"_to", &of_response.to},
      {"_contacts", &of_response.contacts}}},
    {"via",
     &via_class,
     {{"proto", &of_via.proto},
      {"host", &of_via.host},
      {"port", &of_via.port},
      {"params", &of_via.params},
      {"_text", &of_via.text}}},
    {"cseq", &cseq_class, {{"number", &of_cseq.number}, {"method", &of_cseq.method}}},
    {"address",
     &address_class,
     {{"display", &of_address.display}, {"params", &of_address.params}, {"uri_text", &of_address.uri_text}}},
    {"credentials",
     &credentials_class,
     {{"algorithm", &of_credentials.algorithm},
      {"cnonce", &of_credentials.cnonce},
      {"nc", &of_credentials.nc},
      {"nc_text", &of_credentials.nc_text},
      {"nonce", &of_credentials.nonce},
      {"qop", &of_credentials.qop},
      {"realm", &of_credentials.realm},
      {"response", &of_credentials.response},
      {"uri", &of_credentials.uri},
      {"username", &of_credentials.username}}},
};

PyDoc_STRVAR(bind_doc,
             "bind(which: str, template: object) -> None\n\n"
             "Learn a class from an object of it. A new one is a copy of it in all that is not known here, so\n"
             "what the template has in its slots must be immutable.\n\n"
             ":raise TypeError: the class is not as it must be.");

static PyObject *
bind(PyObject *self, PyObject *args)
{
    const char *which;
    PyObject *template;
    Py_ssize_t offsets[11];
    size_t at, i;

    if (!PyArg_ParseTuple(args, "sO", &which, &template))
        return NULL;
    for (at = 0; at < sizeof classes / sizeof classes[0]; at++)
        if (strcmp(which, classes[at].which) == 0)
            break;
    if (at == sizeof classes / sizeof classes[0])
        return PyErr_Format(PyExc_ValueError, "mizu._messages knows no %s", which);
    for (i = 0; classes[at].wanted[i].name != NULL; i++)
        if ((offsets[i] = slot_of(Py_TYPE(template), classes[at].wanted[i].name)) < 0)
            return NULL;
    if (learn(classes[at].class, template) < 0)
        return NULL;
    for (i = 0; classes[at].wanted[i].name != NULL; i++)
        *classes[at].wanted[i].offset = offsets[i];
    Py_RETURN_NONE;
}

PyDoc_STRVAR(bind_names_doc,
             "bind_names(keys: dict[str, str], single: frozenset[str], methods: Iterable[str],\n"
             "           via: Callable[[str], object], cseq: Callable[[str], object],\n"
             "           bad_message: type[Exception]) -> None\n\n"
             "Learn the spellings of header names with their keys, and what reads the unusual values.");

static PyObject *
bind_names(PyObject *self, PyObject *args)
{
    PyObject *keys, *single, *methods, *via, *cseq, *bad, *name, *key, *all;
    const char *usual[] = {"branch", "rport", "received", "alias", "ttl", "maddr"};
    Py_ssize_t at = 0, i;

    if (!PyArg_ParseTuple(args, "O!O!OOOO", &PyDict_Type, &keys, &PyFrozenSet_Type, &single, &methods, &via,
                          &cseq, &bad))
        return NULL;
    if (PyDict_Size(keys) > NAMES_MAX)
        return PyErr_Format(PyExc_ValueError, "mizu._messages: more than %d header names", NAMES_MAX);
    for (i = 0; i < NAMES_PLACES; i++) {
        Py_CLEAR(names[i].name);
        Py_CLEAR(names[i].key);
    }
    names_count = 0;
    while (PyDict_Next(keys, &at, &name, &key)) {
        Py_ssize_t length;
        const char *text;
        Name *place;
        int once;
        if (!plain_ascii(name) || !plain_ascii(key))
            return PyErr_Format(PyExc_TypeError, "mizu._messages: header names are ASCII");
        once = PySet_Contains(single, key);
        if (once < 0)
            return NULL;
        text = ascii(name, &length);
        place = name_at(text, length);
        if (place->name != NULL)
            continue;
        place->name = Py_NewRef(name);
        place->key = Py_NewRef(key);
        PyUnicode_InternInPlace(&place->name);
        PyUnicode_InternInPlace(&place->key);
        place->single = once;
        names_count++;
    }
    all = PySequence_List(methods);
    if (all == NULL)
        return NULL;
    for (i = 0; i < (Py_ssize_t)(sizeof usual / sizeof usual[0]); i++) {
        PyObject *word = PyUnicode_InternFromString(usual[i]);
        if (word == NULL || PyList_Insert(all, 0, word) < 0) {
            Py_XDECREF(word);
            Py_DECREF(all);
            return NULL;
        }
        Py_DECREF(word);
    }
    for (i = 0; i < PyList_GET_SIZE(all); i++)
        if (!plain_ascii(PyList_GET_ITEM(all, i))) {
            Py_DECREF(all);
            return PyErr_Format(PyExc_TypeError, "mizu._messages: methods are ASCII");
        }
    Py_XSETREF(words, PyList_AsTuple(all));
    Py_DECREF(all);
    if (words == NULL)
        return NULL;
    Py_XSETREF(single_keys, Py_NewRef(single));
    Py_XSETREF(call_via, Py_NewRef(via));
    Py_XSETREF(call_cseq, Py_NewRef(cseq));
    Py_XSETREF(bad_message, Py_NewRef(bad));
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ addresses */

/* ``"Name" <uri>;tag=x`` and the like; NULL without an exception: it is not so plain. */
static PyObject *
read_address(PyObject *value)
{
    const char *p, *end, *display, *display_end, *uri, *uri_end;
    Py_ssize_t n;
    PyObject *made, *params, *tag = NULL;

    if (!plain_ascii(value))
        return NULL;
    p = ascii(value, &n);
    end = p + n;
    if (n > 0 && *p == '"') {
        display = p + 1;
        display_end = memchr(display, '"', (size_t)(end - display));
        if (display_end == NULL || memchr(display, '\\', (size_t)(display_end - display)) != NULL)
            return NULL;
        uri = display_end + 1;
        if (uri < end && *uri == ' ')
            uri++;
        if (uri == end || *uri != '<')
            return NULL;
    } else {
        display = p;
        uri = memchr(p, '<', (size_t)n);
        if (uri == NULL)
            return NULL;
        for (display_end = display; display_end < uri; display_end++)
            if (*display_end != ' ' && !(kind_of[(unsigned char)*display_end] & TOKEN))
                return NULL;
        while (display_end > display && display_end[-1] == ' ')
            display_end--;
    }
    uri++;
    for (uri_end = uri; uri_end < end && *uri_end != '>'; uri_end++)
        if (*uri_end == '<' || *uri_end == '"' || (kind_of[(unsigned char)*uri_end] & SPACE))
            return NULL;
    if (uri_end == end || uri_end == uri)
        return NULL;
    p = uri_end + 1;
    if (p < end) {
        if (end - p < 6 || memcmp(p, ";tag=", 5) != 0 || !all_of(p + 5, end - p - 5, TOKEN))
            return NULL;
        tag = new_ascii(p + 5, end - p - 5);
        if (tag == NULL)
            return NULL;
    }
    params = PyDict_New();
    if (params != NULL && tag != NULL && PyDict_SetItem(params, s_tag, tag) < 0)
        Py_CLEAR(params);
    Py_XDECREF(tag);
    made = params == NULL ? NULL : new_object(&address_class);
    if (made == NULL) {
        Py_XDECREF(params);
        return NULL;
    }
    put(made, of_address.params, params);
    put(made, of_address.display, new_ascii(display, display_end - display));
    put(made, of_address.uri_text, new_ascii(uri, uri_end - uri));
    if (SLOT(made, of_address.display) == NULL || SLOT(made, of_address.uri_text) == NULL)
        Py_CLEAR(made);
    return made;
}

PyDoc_STRVAR(address_doc,
             "address(value: str) -> NameAddr | None\n\n"
             "``\"Name\" <uri>;tag=x`` and the like; None: it is not so plain.");

static PyObject *
address(PyObject *self, PyObject *value)
{
    PyObject *made = read_address(value);

    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

/* ------------------------------------------------------------------ bytes to a message */

/* What was learned about one message. Nothing in it is owned but what says so. */
typedef struct {
    int is_ascii;
    PyObject *fields; /* owned */
    PyObject *first; /* owned */
    PyObject *value[7]; /* of these headers; borrowed from first */
    const char *at[7];
    Py_ssize_t size[7];
} Reading;

enum { VIA, FROM, TO, CALL_ID, CSEQ, LENGTH, CONTACT };

static int
which_value(PyObject *key)
{
    return key == s_via              ? VIA
           : key == s_from           ? FROM
           : key == s_to             ? TO
           : key == s_call_id        ? CALL_ID
           : key == s_cseq           ? CSEQ
           : key == s_content_length ? LENGTH
           : key == s_contact        ? CONTACT
                                     : -1;
}

/* Name and key of a header. 1: found, new references; 0: it is no token; -1: exception. */
static int
read_name(const char *p, Py_ssize_t n, PyObject **name, PyObject **key, int *single)
{
    Name *place = name_at(p, n);
    char *lowered, buffer[64];
    Py_ssize_t i;

    *single = 0;
    if (place->name == NULL) {
        if (n == 0 || !all_of(p, n, TOKEN))
            return 0;
        lowered = n <= (Py_ssize_t)sizeof buffer ? buffer : PyMem_Malloc((size_t)n);
        if (lowered == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (i = 0; i < n; i++)
            lowered[i] = lower(p[i]);
        place = name_at(lowered, n);
        *name = new_ascii(p, n);
        if (place->name == NULL)
            *key = *name == NULL ? NULL : new_ascii(lowered, n);
        else
            *key = Py_NewRef(place->key);
        if (lowered != buffer)
            PyMem_Free(lowered);
        if (*name == NULL || *key == NULL) {
            Py_CLEAR(*name);
            Py_CLEAR(*key);
            return -1;
        }
    } else {
        *name = Py_NewRef(place->name);
        *key = Py_NewRef(place->key);
    }
    if (place->name != NULL)
        *single = place->single;
    return 1;
}

/* One header line. 1: taken, 0: a surprise, -1: exception. */
static int
read_field(Reading *reading, Py_ssize_t number, const char *p, Py_ssize_t n)
{
    const char *colon = memchr(p, ':', (size_t)n), *value, *end = p + n;
    PyObject *name = NULL, *key = NULL, *text, *field;
    Py_ssize_t before;
    int single, which, result;

    if (colon == NULL)
        return 0;
    result = read_name(p, colon - p, &name, &key, &single);
    if (result <= 0)
        return result;
    value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    text = new_text(value, end - value, reading->is_ascii);
    field = text == NULL ? NULL : PyTuple_New(3);
    if (field == NULL) {
        Py_XDECREF(text);
        Py_DECREF(name);
        Py_DECREF(key);
        return -1;
    }
    PyTuple_SET_ITEM(field, 0, name);
    PyTuple_SET_ITEM(field, 1, key);
    PyTuple_SET_ITEM(field, 2, text);
    PyObject_GC_UnTrack(field); /* nothing but text in it, as the collector would find out by itself */
    PyList_SET_ITEM(reading->fields, number, field);
    before = PyDict_Size(reading->first);
    if (PyDict_SetDefault(reading->first, key, text) == NULL)
        return -1;
    if (PyDict_Size(reading->first) == before)
        return !single;
    which = which_value(key);
    if (which >= 0) {
        reading->value[which] = text;
        reading->at[which] = value;
        reading->size[which] = end - value;
    }
    return 1;
}

/* A value that is read in Python. NULL: a surprise or an exception. */
static PyObject *
ask(PyObject *callable, PyObject *text)
{
    PyObject *made = PyObject_CallOneArg(callable, text);

    if (made == NULL && PyErr_ExceptionMatches(bad_message))
        PyErr_Clear();
    return made;
}

/* 1*9DIGIT; -1: anything else. */
static long
short_number(const char *p, Py_ssize_t n)
{
    long number = 0;
    Py_ssize_t i;

    if (n < 1 || n > 9 || !all_of(p, n, DIGIT))
        return -1;
    for (i = 0; i < n; i++)
        number = number * 10 + (p[i] - '0');
    return number;
}

/* "1 INVITE" to a CSeq. NULL: a surprise or an exception. */
static PyObject *
read_cseq(PyObject *text, const char *p, Py_ssize_t n)
{
    const char *space = memchr(p, ' ', (size_t)n);
    long number = space == NULL ? -1 : short_number(p, space - p);
    Py_ssize_t size = number < 0 ? 0 : p + n - space - 1;
    PyObject *made, *value, *method;

    if (size < 1 || !all_of(space + 1, size, TOKEN))
        return ask(call_cseq, text);
    value = PyLong_FromLong(number);
    method = new_word(words, space + 1, size);
    made = value == NULL || method == NULL ? NULL : new_object(&cseq_class);
    if (made == NULL) {
        Py_XDECREF(value);
        Py_XDECREF(method);
        return NULL;
    }
    put(made, of_cseq.number, value);
    put(made, of_cseq.method, method);
    return made;
}

/* The parameters of a Via without anything special. 1: read, 0: unusual, -1: exception. */
static int
read_via_params(PyObject *params, const char *p, const char *end)
{
    Py_ssize_t count = 0;

    for (;;) {
        const char *piece_end = memchr(p, ';', (size_t)(end - p)), *equals;
        PyObject *name, *value;
        int failed;
        if (piece_end == NULL)
            piece_end = end;
        equals = memchr(p, '=', (size_t)(piece_end - p));
        if (!all_of(p, (equals == NULL ? piece_end : equals) - p, TOKEN) || p == (equals ? equals : piece_end))
            return 0;
        if (equals != NULL && !all_of(equals + 1, piece_end - equals - 1, TOKEN))
            return 0;
        name = new_lower(words, p, (equals == NULL ? piece_end : equals) - p);
        if (name == NULL)
            return PyErr_Occurred() ? -1 : 0;
        value = equals == NULL ? Py_NewRef(Py_None) : new_ascii(equals + 1, piece_end - equals - 1);
        failed = value == NULL || PyDict_SetItem(params, name, value) < 0;
        Py_XDECREF(value);
        Py_DECREF(name);
        if (failed)
            return -1;
        if (PyDict_Size(params) != ++count)
            return 0;
        if (piece_end == end)
            return 1;
        p = piece_end + 1;
    }
}

static const char *const PROTOS[] = {"UDP", "TCP", "TLS"};
static PyObject *proto_words[3];

/* One Via value. NULL: a surprise or an exception. */
static PyObject *
read_via(PyObject *text, const char *p, Py_ssize_t n)
{
    const char *end = p + n, *semicolon, *place_end, *colon, *host_end, *host = p + 12;
    PyObject *made, *params;
    long port = -1;
    int proto, result = 1;

    if (n < 13 || memcmp(p, "SIP/2.0/", 8) != 0 || p[11] != ' ')
        return ask(call_via, text);
    for (proto = 0; proto < 3; proto++)
        if (memcmp(p + 8, PROTOS[proto], 3) == 0)
            break;
    semicolon = memchr(p, ';', (size_t)n);
    place_end = semicolon == NULL ? end : semicolon;
    if (proto == 3 || place_end <= host)
        return ask(call_via, text);
    colon = memchr(host, ':', (size_t)(place_end - host));
    host_end = colon == NULL ? place_end : colon;
    if (colon != NULL) {
        port = place_end - colon - 1 > 5 ? -1 : short_number(colon + 1, place_end - colon - 1);
        if (port < 0 || port > 65535)
            return ask(call_via, text);
    }
    if (host_end == host || host[0] == '-' || host[0] == '.' || host_end[-1] == '-' ||
        !all_of(host, host_end - host, HOST))
        return ask(call_via, text);
    params = PyDict_New();
    if (params == NULL)
        return NULL;
    if (semicolon != NULL)
        result = read_via_params(params, semicolon + 1, end);
    if (result <= 0) {
        Py_DECREF(params);
        return result < 0 ? NULL : ask(call_via, text);
    }
    made = new_object(&via_class);
    if (made == NULL) {
        Py_DECREF(params);
        return NULL;
    }
    put(made, of_via.params, params);
    put(made, of_via.proto, Py_NewRef(proto_words[proto]));
    put(made, of_via.host, new_ascii(host, host_end - host));
    put(made, of_via.port, port < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(port));
    put(made, of_via.text, Py_NewRef(text));
    if (SLOT(made, of_via.host) == NULL || SLOT(made, of_via.port) == NULL)
        Py_CLEAR(made);
    return made;
}

/* How many bytes the body has; -1: a surprise. */
static Py_ssize_t
body_size(const Reading *reading, Py_ssize_t there)
{
    const char *p = reading->at[LENGTH];
    Py_ssize_t n = reading->size[LENGTH], size = 0, i;

    if (reading->value[LENGTH] == NULL)
        return there;
    if (n < 1 || n > 20 || !all_of(p, n, DIGIT))
        return -1;
    for (i = 0; i < n; i++) {
        size = size * 10 + (p[i] - '0');
        if (size > there)
            return -1;
    }
    return size;
}

/* Lines of the head and where it ends. 0: a control character, no end, too much of something. */
static int
scan_head(const char *data, Py_ssize_t size, Py_ssize_t lines_max, Py_ssize_t head_max, Py_ssize_t *lines,
          Py_ssize_t *head, int *is_ascii)
{
    const unsigned char *p = (const unsigned char *)data, *end = p + size;
    unsigned char all = 0;

    for (*lines = 1; p < end; p++) {
        all |= *p;
        if (!(kind_of[*p] & CONTROL))
            continue;
        if (*p != '\r' || end - p < 2 || p[1] != '\n')
            return 0;
        if (end - p >= 4 && p[2] == '\r' && p[3] == '\n') {
            *head = (const char *)p - data;
            *is_ascii = all < 128;
            return *head <= head_max && *lines <= lines_max;
        }
        if (++*lines > lines_max)
            return 0;
        p++;
    }
    return 0;
}

/* Three parts of the start line between its first two spaces. 0: there are no three. */
static int
split_start(const char *p, const char *end, const char *at[3], Py_ssize_t size[3])
{
    int i;

    for (i = 0; i < 2; i++) {
        const char *space = memchr(p, ' ', (size_t)(end - p));
        if (space == NULL)
            return 0;
        at[i] = p;
        size[i] = space - p;
        p = space + 1;
    }
    at[2] = p;
    size[2] = end - p;
    return 1;
}

static int
is_text(const char *p, Py_ssize_t n, const char *text)
{
    return n == (Py_ssize_t)strlen(text) && memcmp(p, text, (size_t)n) == 0;
}

/* The addresses that nearly everybody asks for, where they are plain; the others are read when asked for.
 * -1: exception. */
static int
read_addresses(const Reading *reading, PyObject *made, const MessageSlots *of)
{
    PyObject *text = reading->value[CONTACT], *one, *all;

    one = read_address(reading->value[FROM]);
    if (one != NULL)
        put(made, of->from, one);
    else if (PyErr_Occurred())
        return -1;
    one = read_address(reading->value[TO]);
    if (one != NULL)
        put(made, of->to, one);
    else if (PyErr_Occurred())
        return -1;
    if (text == NULL || memchr(reading->at[CONTACT], ',', (size_t)reading->size[CONTACT]) != NULL ||
        PyDict_Size(reading->first) != PyList_GET_SIZE(reading->fields))
        return 0;
    one = read_address(text);
    if (one == NULL)
        return PyErr_Occurred() ? -1 : 0;
    all = PyList_New(1);
    if (all == NULL) {
        Py_DECREF(one);
        return -1;
    }
    PyList_SET_ITEM(all, 0, one);
    put(made, of->contacts, all);
    return 0;
}

/* The message itself, from all that was read; NULL without an exception: a surprise. */
static PyObject *
make_message(Reading *reading, const char *at[3], const Py_ssize_t size[3], PyObject *cseq, const char *body,
             Py_ssize_t length)
{
    int is_request = is_text(at[2], size[2], "SIP/2.0");
    const MessageSlots *of = is_request ? &of_request : &of_response;
    PyObject *made, *via, *method, *uri, *content;

    if (is_request) {
        PyObject *wanted = SLOT(cseq, of_cseq.method);
        Py_ssize_t n;
        const char *text;
        if (wanted == NULL || !plain_ascii(wanted))
            return NULL;
        text = ascii(wanted, &n);
        if (n != size[0] || memcmp(text, at[0], (size_t)n) != 0 || size[1] == 0 ||
            memchr(at[1], '<', (size_t)size[1]) != NULL || memchr(at[1], '\t', (size_t)size[1]) != NULL)
            return NULL;
        method = Py_NewRef(wanted);
        uri = new_text(at[1], size[1], reading->is_ascii);
    } else {
        if (!is_text(at[0], size[0], "SIP/2.0") || size[1] != 3 || !all_of(at[1], 3, DIGIT) ||
            at[1][0] < '1' || at[1][0] > '6')
            return NULL;
        method = PyLong_FromLong(short_number(at[1], 3));
        uri = new_text(at[2], size[2], reading->is_ascii);
    }
    via = method == NULL || uri == NULL ? NULL : read_via(reading->value[VIA], reading->at[VIA], reading->size[VIA]);
    content = via == NULL ? NULL : PyBytes_FromStringAndSize(body, length);
    made = content == NULL ? NULL : new_object(is_request ? &request_class : &response_class);
    if (made == NULL) {
        Py_XDECREF(method);
        Py_XDECREF(uri);
        Py_XDECREF(via);
        Py_XDECREF(content);
        return NULL;
    }
    put(made, of->method, method);
    put(made, of->uri, uri);
    put(made, of->via, via);
    put(made, of->cseq, Py_NewRef(cseq));
    put(made, of->body, content);
    put(made, of->fields, Py_NewRef(reading->fields));
    put(made, of->first, Py_NewRef(reading->first));
    if (read_addresses(reading, made, of) < 0)
        Py_CLEAR(made);
    return made;
}

/* Every header line after the start line. 1: taken, 0: a surprise, -1: exception. */
static int
read_fields(Reading *reading, const char *p, const char *end)
{
    Py_ssize_t number;
    int i;

    for (number = 0; p < end; number++) {
        const char *stop = p;
        int result;
        /* the scan has seen that no CR stands alone */
        stop = memchr(p, '\r', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        result = read_field(reading, number, p, stop - p);
        if (result <= 0)
            return result;
        p = stop + 2;
    }
    for (i = VIA; i <= CSEQ; i++)
        if (reading->value[i] == NULL)
            return 0;
    if (reading->size[CALL_ID] == 0 || memchr(reading->at[CALL_ID], ' ', (size_t)reading->size[CALL_ID]) ||
        memchr(reading->at[CALL_ID], ',', (size_t)reading->size[CALL_ID]) ||
        memchr(reading->at[CALL_ID], '\t', (size_t)reading->size[CALL_ID]))
        return 0;
    return reading->size[VIA] > 0 && memchr(reading->at[VIA], ',', (size_t)reading->size[VIA]) == NULL;
}

PyDoc_STRVAR(parse_plain_doc,
             "parse_plain(data: bytes, message_bytes: int, header_lines: int, line_bytes: int, stream: bool)\n"
             "    -> Request | Response | None\n\n"
             "A message without surprises, as mizu.sip.parser reads it; None: the slow way must look at it.\n"
             "``stream``: the data is a head with its blank line, Content-Length is not looked at.");

static PyObject *
parse_plain(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Reading reading = {0};
    PyObject *made = NULL, *cseq = NULL;
    const char *data, *at[3], *line_end;
    Py_ssize_t size, message_max, lines_max, head_max, lines, head, length, part[3];
    int stream, result;

    if (nargs != 5 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "parse_plain(bytes, int, int, int, bool)");
        return NULL;
    }
    if (call_via == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "mizu._messages: names are not bound");
        return NULL;
    }
    data = PyBytes_AS_STRING(args[0]);
    size = PyBytes_GET_SIZE(args[0]);
    message_max = PyNumber_AsSsize_t(args[1], NULL); /* a number that is too large counts as the largest */
    lines_max = PyNumber_AsSsize_t(args[2], NULL);
    head_max = PyNumber_AsSsize_t(args[3], NULL);
    stream = PyObject_IsTrue(args[4]);
    if (stream < 0 || PyErr_Occurred())
        return NULL;
    if ((!stream && size > message_max) || !scan_head(data, size, lines_max, head_max, &lines, &head, &reading.is_ascii))
        Py_RETURN_NONE;
    line_end = lines == 1 ? data + head : memchr(data, '\r', (size_t)head);
    if (!split_start(data, line_end, at, part))
        Py_RETURN_NONE;
    reading.fields = PyList_New(lines - 1);
    reading.first = reading.fields == NULL ? NULL : PyDict_New();
    if (reading.first == NULL)
        goto done;
    result = lines == 1 ? 0 : read_fields(&reading, line_end + 2, data + head);
    if (result <= 0)
        goto done;
    length = stream ? 0 : body_size(&reading, size - head - 4);
    if (length < 0)
        goto done;
    cseq = read_cseq(reading.value[CSEQ], reading.at[CSEQ], reading.size[CSEQ]);
    if (cseq == NULL)
        goto done;
    if (!Py_IS_TYPE(cseq, cseq_class.type)) {
        PyErr_SetString(PyExc_TypeError, "mizu._messages: CSeq of another class");
        goto done;
    }
    made = make_message(&reading, at, part, cseq, data + head + 4, length);
done:
    Py_XDECREF(cseq);
    Py_XDECREF(reading.fields);
    Py_XDECREF(reading.first);
    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

/* ------------------------------------------------------------------ where a request came from */

/* ";rport" once, alone, and nothing that makes the text doubtful; its index or -1. */
static Py_ssize_t
rport_at(const char *p, Py_ssize_t n)
{
    Py_ssize_t i, found = -1;

    for (i = 0; i < n; i++) {
        if (p[i] == '"')
            return -1;
        if (p[i] != ';' || n - i < 6 || memcmp(p + i, ";rport", 6) != 0)
            continue;
        if (found >= 0 || (n - i > 6 && p[i + 6] != ';'))
            return -1;
        found = i;
    }
    return found;
}

/* The first Via line gets another value. -1: exception, 0: it is not as expected. */
static int
replace_via(PyObject *fields, PyObject *first, PyObject *old, PyObject *text)
{
    Py_ssize_t i;

    if (!PyList_CheckExact(fields) || !PyDict_CheckExact(first))
        return 0;
    for (i = 0; i < PyList_GET_SIZE(fields); i++) {
        PyObject *field = PyList_GET_ITEM(fields, i), *changed;
        if (!PyTuple_CheckExact(field) || PyTuple_GET_SIZE(field) != 3)
            return 0;
        if (PyTuple_GET_ITEM(field, 1) != s_via)
            continue;
        if (PyTuple_GET_ITEM(field, 2) != old)
            return 0;
        changed = PyTuple_Pack(3, PyTuple_GET_ITEM(field, 0), s_via, text);
        if (changed == NULL)
            return -1;
        if (PyDict_SetItem(first, s_via, text) < 0) {
            Py_DECREF(changed);
            return -1;
        }
        if (PyUnicode_CheckExact(PyTuple_GET_ITEM(changed, 0)))
            PyObject_GC_UnTrack(changed);
        PyList_SetItem(fields, i, changed);
        return 1;
    }
    return 0;
}

PyDoc_STRVAR(stamp_doc,
             "stamp(request: Request, host: str, port: int) -> int | None\n\n"
             "As Request.stamp_source, for a fresh request with one usual top Via.\n\n"
             ":return: the port that answers go to (RFC 3261 18.2.2, RFC 3581); None: nothing was done, the\n"
             "    Python way must.");

static PyObject *
stamp(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *request, *via, *params, *text, *host, *made, *rport, *port_text;
    Py_ssize_t n, at, host_size;
    const char *p, *host_p;
    long port;
    char digits[8], *out;
    int length, result;

    if (nargs != 3 || request_class.type == NULL || via_class.type == NULL ||
        !Py_IS_TYPE(args[0], request_class.type) || !plain_ascii(args[1]))
        Py_RETURN_NONE;
    request = args[0];
    host = args[1];
    port = PyLong_AsLong(args[2]);
    if (port == -1 && PyErr_Occurred())
        return NULL;
    via = SLOT(request, of_request.via);
    if (port < 0 || port > 65535 || via == NULL || !Py_IS_TYPE(via, via_class.type))
        Py_RETURN_NONE;
    params = SLOT(via, of_via.params);
    text = SLOT(via, of_via.text);
    if (params == NULL || !PyDict_CheckExact(params) || text == NULL || !plain_ascii(text))
        Py_RETURN_NONE;
    if (PyDict_GetItemWithError(params, s_received) != NULL)
        Py_RETURN_NONE;
    rport = PyErr_Occurred() ? NULL : PyDict_GetItemWithError(params, s_rport);
    if (PyErr_Occurred())
        return NULL;
    if (rport == NULL) { /* nothing to say if it was sent from where the Via says */
        PyObject *named = SLOT(via, of_via.host), *number = SLOT(via, of_via.port);
        if (named == NULL || number == NULL || !(number == Py_None || PyLong_CheckExact(number)) ||
            !PyUnicode_CheckExact(named) || PyUnicode_Compare(named, host) != 0)
            Py_RETURN_NONE;
        if (number == Py_None)
            return PyLong_FromLong(5060);
        return PyObject_IsTrue(number) > 0 ? Py_NewRef(number) : PyLong_FromLong(5060);
    }
    p = ascii(text, &n);
    at = rport == Py_None ? rport_at(p, n) : -1;
    if (at < 0)
        Py_RETURN_NONE;
    host_p = ascii(host, &host_size);
    length = PyOS_snprintf(digits, sizeof digits, "=%ld", port);
    made = PyUnicode_New(n + length + 10 + host_size, 127);
    port_text = made == NULL ? NULL : new_ascii(digits + 1, length - 1);
    if (port_text == NULL) {
        Py_XDECREF(made);
        return NULL;
    }
    out = (char *)PyUnicode_1BYTE_DATA(made);
    memcpy(out, p, (size_t)(at + 6));
    memcpy(out + at + 6, digits, (size_t)length);
    memcpy(out + at + 6 + length, p + at + 6, (size_t)(n - at - 6));
    memcpy(out + n + length, ";received=", 10);
    memcpy(out + n + length + 10, host_p, (size_t)host_size);
    result = replace_via(SLOT(request, of_request.fields), SLOT(request, of_request.first), text, made);
    if (result > 0 && (PyDict_SetItem(params, s_rport, port_text) < 0 || PyDict_SetItem(params, s_received, host) < 0))
        result = -1;
    Py_DECREF(port_text);
    if (result <= 0) {
        Py_DECREF(made);
        if (result < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    put(via, of_via.text, made);
    return Py_NewRef(args[2]);
}

/* ------------------------------------------------------------------ a message to bytes */

/* Bytes that a str will have; -1: it is no ASCII str and must be encoded. */
static Py_ssize_t
room_for(PyObject *text)
{
    return plain_ascii(text) ? PyUnicode_GET_LENGTH(text) : -1;
}

/* Line ends inside a value become spaces: nothing may add a header. */
static char *
write_safe(char *out, const char *p, Py_ssize_t n)
{
    Py_ssize_t i;

    memcpy(out, p, (size_t)n);
    if (memchr(p, '\n', (size_t)n) != NULL || memchr(p, '\r', (size_t)n) != NULL)
        for (i = 0; i < n; i++)
            if (out[i] == '\n' || out[i] == '\r')
                out[i] = ' ';
    return out + n;
}

static char *
write_word(char *out, PyObject *text)
{
    Py_ssize_t n;
    const char *p = ascii(text, &n);

    return write_safe(out, p, n);
}

PyDoc_STRVAR(to_bytes_doc,
             "to_bytes(start: str, fields: list[tuple[str, str, str]], length: str, body: bytes) -> bytes | None\n\n"
             "A message as it goes out; ``length``: the value of a Content-Length that is added, empty: none.\n"
             "None: something in it is not ASCII, or of another type than it says.");

static PyObject *
to_bytes(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    static const char added[] = "Content-Length: ";
    PyObject *fields, *made;
    Py_ssize_t i, count, total, start, length;
    char *out;

    if (nargs != 4 || !PyList_CheckExact(args[1]) || !PyBytes_Check(args[3]))
        Py_RETURN_NONE;
    fields = args[1];
    count = PyList_GET_SIZE(fields);
    start = room_for(args[0]);
    length = room_for(args[2]);
    if (start < 0 || length < 0)
        Py_RETURN_NONE;
    total = start + 4 + PyBytes_GET_SIZE(args[3]);
    if (length > 0)
        total += (Py_ssize_t)sizeof added - 1 + length + 2;
    for (i = 0; i < count; i++) {
        PyObject *field = PyList_GET_ITEM(fields, i);
        Py_ssize_t name, value;
        if (!PyTuple_CheckExact(field) || PyTuple_GET_SIZE(field) != 3)
            Py_RETURN_NONE;
        name = room_for(PyTuple_GET_ITEM(field, 0));
        value = room_for(PyTuple_GET_ITEM(field, 2));
        if (name < 0 || value < 0)
            Py_RETURN_NONE;
        total += name + value + 4;
    }
    made = PyBytes_FromStringAndSize(NULL, total);
    if (made == NULL)
        return NULL;
    out = write_word(PyBytes_AS_STRING(made), args[0]);
    *out++ = '\r';
    *out++ = '\n';
    for (i = 0; i < count; i++) {
        PyObject *field = PyList_GET_ITEM(fields, i);
        out = write_word(out, PyTuple_GET_ITEM(field, 0));
        *out++ = ':';
        *out++ = ' ';
        out = write_word(out, PyTuple_GET_ITEM(field, 2));
        *out++ = '\r';
        *out++ = '\n';
    }
    if (length > 0) {
        memcpy(out, added, sizeof added - 1);
        out = write_word(out + sizeof added - 1, args[2]);
        *out++ = '\r';
        *out++ = '\n';
    }
    *out++ = '\r';
    *out++ = '\n';
    memcpy(out, PyBytes_AS_STRING(args[3]), (size_t)PyBytes_GET_SIZE(args[3]));
    return made;
}

/* ------------------------------------------------------------------ messages of ours to bytes */

/* Bytes that grow; begin() makes one. */
typedef struct {
    char *data;
    Py_ssize_t size, room;
    char fixed[1536]; /* nearly every message */
} Text;

static void
begin(Text *text)
{
    text->data = text->fixed;
    text->size = 0;
    text->room = (Py_ssize_t)sizeof text->fixed;
}

static int
grow(Text *text, Py_ssize_t more)
{
    Py_ssize_t room = text->room;
    char *data;

    if (more > PY_SSIZE_T_MAX / 4 - text->size) {
        PyErr_NoMemory();
        return -1;
    }
    while (room < text->size + more)
        room *= 2;
    data = PyMem_Realloc(text->data == text->fixed ? NULL : text->data, (size_t)room);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (text->data == text->fixed)
        memcpy(data, text->fixed, (size_t)text->size);
    text->data = data;
    text->room = room;
    return 0;
}

static int
add_bytes(Text *text, const char *p, Py_ssize_t n)
{
    if (text->room - text->size < n && grow(text, n) < 0)
        return -1;
    memcpy(text->data + text->size, p, (size_t)n);
    text->size += n;
    return 0;
}

#define ADD(text, literal) add_bytes(text, literal, (Py_ssize_t)sizeof(literal) - 1)

/* 1: added, its line ends as spaces; 0: it is no ASCII text; -1: exception. */
static int
add_value(Text *text, PyObject *value)
{
    Py_ssize_t n;
    const char *p;

    if (value == NULL || !plain_ascii(value))
        return 0;
    p = ascii(value, &n);
    if (text->room - text->size < n && grow(text, n) < 0)
        return -1;
    write_safe(text->data + text->size, p, n);
    text->size += n;
    return 1;
}

/* "Name: value" and its line end. As add_value. */
static int
add_line(Text *text, PyObject *name, PyObject *value)
{
    int result = add_value(text, name);

    if (result > 0)
        result = ADD(text, ": ") < 0 ? -1 : add_value(text, value);
    return result > 0 && ADD(text, "\r\n") < 0 ? -1 : result;
}

/* What stands at last: Content-Length, the blank line and the body. */
static PyObject *
finished(Text *text, PyObject *body)
{
    char length[48];
    PyObject *made;
    int n = PyOS_snprintf(length, sizeof length, "Content-Length: %zd\r\n\r\n", PyBytes_GET_SIZE(body));

    if (add_bytes(text, length, n) < 0)
        return NULL;
    made = PyBytes_FromStringAndSize(NULL, text->size + PyBytes_GET_SIZE(body));
    if (made != NULL) {
        memcpy(PyBytes_AS_STRING(made), text->data, (size_t)text->size);
        memcpy(PyBytes_AS_STRING(made) + text->size, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    }
    return made;
}

static void
forget(Text *text)
{
    if (text->data != text->fixed)
        PyMem_Free(text->data);
}

/* Whether a To has a tag: 1, 0, or -1 when it must be read for that. */
static int
has_tag(PyObject *to)
{
    Py_ssize_t n, i;
    const char *p = ascii(to, &n), *end = p + n, *tag = end;

    for (i = 0; i + 3 <= n; i++)
        if (lower(p[i]) == 't' && lower(p[i + 1]) == 'a' && lower(p[i + 2]) == 'g')
            break;
    if (i + 3 > n)
        return 0;
    while (tag > p && (kind_of[(unsigned char)tag[-1]] & TOKEN))
        tag--;
    return tag < end && tag - p >= 6 && memcmp(tag - 6, ">;tag=", 6) == 0 ? 1 : -1;
}

PyDoc_STRVAR(answer_doc,
             "answer(request: Request, start: str, to_tag: str | None, fields: list | tuple, body: bytes,\n"
             "       record_route: bool) -> bytes | None\n\n"
             "The bytes of Request.reply, for a request that has each header once and is ASCII; None: another.\n"
             "``start``: the status line. Not for a 100 to a request with Timestamp.");

static PyObject *
answer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    static const char *const names[] = {"Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "};
    PyObject *const keys[] = {s_via, s_from, s_to, s_call_id, s_cseq}, *made = NULL, *first, *fields, *more;
    Text text;
    Py_ssize_t i;
    int result;

    if (nargs != 6 || request_class.type == NULL || !Py_IS_TYPE(args[0], request_class.type) ||
        !(PyList_CheckExact(args[3]) || PyTuple_CheckExact(args[3])) || !PyBytes_CheckExact(args[4]))
        Py_RETURN_NONE;
    first = SLOT(args[0], of_request.first);
    fields = SLOT(args[0], of_request.fields);
    if (first == NULL || fields == NULL || !PyDict_CheckExact(first) || !PyList_CheckExact(fields) ||
        PyDict_Size(first) != PyList_GET_SIZE(fields))
        Py_RETURN_NONE;
    begin(&text);
    result = add_value(&text, args[1]);
    if (result > 0 && ADD(&text, "\r\n") < 0)
        result = -1;
    for (i = 0; result > 0 && i < 5; i++) {
        PyObject *value = PyDict_GetItemWithError(first, keys[i]);
        if (add_bytes(&text, names[i], (Py_ssize_t)strlen(names[i])) < 0)
            result = -1;
        else
            result = add_value(&text, value);
        if (result > 0 && i == TO && args[2] != Py_None) {
            int tagged = has_tag(value);
            if (tagged < 0)
                result = 0;
            else if (!tagged)
                result = ADD(&text, ";tag=") < 0 ? -1 : add_value(&text, args[2]);
        }
        if (result > 0 && ADD(&text, "\r\n") < 0)
            result = -1;
    }
    if (result > 0 && args[5] == Py_True) {
        PyObject *value = PyDict_GetItemWithError(first, s_record_route);
        if (value != NULL) {
            result = ADD(&text, "Record-Route: ") < 0 ? -1 : add_value(&text, value);
            if (result > 0 && ADD(&text, "\r\n") < 0)
                result = -1;
        }
    }
    more = args[3];
    for (i = 0; result > 0 && i < PySequence_Fast_GET_SIZE(more); i++) {
        PyObject *field = PySequence_Fast_GET_ITEM(more, i);
        Py_ssize_t parts = PyTuple_CheckExact(field) ? PyTuple_GET_SIZE(field) : 0;
        result = parts < 2 ? 0 : add_line(&text, PyTuple_GET_ITEM(field, 0), PyTuple_GET_ITEM(field, parts - 1));
    }
    if (result > 0)
        made = finished(&text, args[4]);
    forget(&text);
    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

PyDoc_STRVAR(forward_doc,
             "forward(request: Request, via: str, contact: str) -> bytes | None\n\n"
             "A request with this Via on top and, unless it is empty, this Contact at the end; None: not ASCII.\n"
             "It must have no Content-Length.");

static PyObject *
forward(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *made = NULL, *fields, *body;
    Text text;
    Py_ssize_t i;
    int result;

    if (nargs != 3 || request_class.type == NULL || !Py_IS_TYPE(args[0], request_class.type) ||
        !plain_ascii(args[1]) || !plain_ascii(args[2]))
        Py_RETURN_NONE;
    fields = SLOT(args[0], of_request.fields);
    body = SLOT(args[0], of_request.body);
    if (fields == NULL || body == NULL || !PyList_CheckExact(fields) || !PyBytes_CheckExact(body))
        Py_RETURN_NONE;
    begin(&text);
    result = add_value(&text, SLOT(args[0], of_request.method));
    if (result > 0)
        result = ADD(&text, " ") < 0 ? -1 : add_value(&text, SLOT(args[0], of_request.uri));
    if (result > 0)
        result = ADD(&text, " SIP/2.0\r\nVia: ") < 0 ? -1 : add_value(&text, args[1]);
    if (result > 0 && ADD(&text, "\r\n") < 0)
        result = -1;
    for (i = 0; result > 0 && i < PyList_GET_SIZE(fields); i++) {
        PyObject *field = PyList_GET_ITEM(fields, i);
        if (!PyTuple_CheckExact(field) || PyTuple_GET_SIZE(field) != 3)
            result = 0;
        else
            result = add_line(&text, PyTuple_GET_ITEM(field, 0), PyTuple_GET_ITEM(field, 2));
    }
    if (result > 0 && PyUnicode_GET_LENGTH(args[2]) > 0) {
        result = ADD(&text, "Contact: ") < 0 ? -1 : add_value(&text, args[2]);
        if (result > 0 && ADD(&text, "\r\n") < 0)
            result = -1;
    }
    if (result > 0)
        made = finished(&text, body);
    forget(&text);
    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

/* ------------------------------------------------------------------ URIs */

static int
is_plain_sip_uri(PyObject *value)
{
    const char *p, *end, *begin;
    Py_ssize_t n;

    if (value == NULL || !plain_ascii(value))
        return 0;
    p = ascii(value, &n);
    end = p + n;
    if (n < 7 || memcmp(p, "sip:", 4) != 0)
        return 0;
    p += 4;
    for (begin = p; p < end && ((kind_of[(unsigned char)*p] & HOST) || *p == '+'); p++)
        ;
    if (p == begin || p == end || *p != '@')
        return 0;
    for (begin = ++p; p < end && (kind_of[(unsigned char)*p] & HOST) && *p != '_'; p++)
        ;
    if (p == begin || !(kind_of[(unsigned char)*begin] & (LETTER | DIGIT)) ||
        !(kind_of[(unsigned char)p[-1]] & (LETTER | DIGIT)))
        return 0;
    if (p < end && *p == ':') {
        for (begin = ++p; p < end && (kind_of[(unsigned char)*p] & DIGIT); p++)
            ;
        if (p == begin || p - begin > 4)
            return 0;
    }
    if (p < end && *p == ';') {
        for (begin = ++p; p < end && (kind_of[(unsigned char)*p] & LETTER); p++)
            ;
        if (p == begin || p == end || *p != '=')
            return 0;
        for (begin = ++p; p < end && (kind_of[(unsigned char)*p] & (LETTER | DIGIT)); p++)
            ;
        if (p == begin)
            return 0;
    }
    return p == end;
}

PyDoc_STRVAR(plain_sip_uri_doc,
             "plain_sip_uri(text: str) -> bool\n\n"
             "As the regular expression of that name in mizu.sip.uri.");

static PyObject *
plain_sip_uri(PyObject *self, PyObject *value)
{
    return PyBool_FromLong(is_plain_sip_uri(value));
}

/* ------------------------------------------------------------------ what every user agent server checks */

/* The URI of an address; NULL: it has not been read, or is none. */
static PyObject *
uri_of(PyObject *address)
{
    return address != NULL && Py_IS_TYPE(address, address_class.type) ? SLOT(address, of_address.uri_text) : NULL;
}

PyDoc_STRVAR(usual_headers_doc,
             "usual_headers(request: Request, contacts: bool, plain_to: bool) -> bool\n\n"
             "Whether From and To have been read, Max-Forwards is absent or 1 to 999, and, if asked for, there is no\n"
             "Contact or one with a plain SIP URI, and To has a plain SIP URI. False: somebody must look closer.");

static PyObject *
usual_headers(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *first, *hops, *to, *contacts;

    if (nargs != 3 || request_class.type == NULL || address_class.type == NULL ||
        !Py_IS_TYPE(args[0], request_class.type))
        Py_RETURN_FALSE;
    first = SLOT(args[0], of_request.first);
    to = uri_of(SLOT(args[0], of_request.to));
    if (first == NULL || !PyDict_CheckExact(first) || to == NULL || uri_of(SLOT(args[0], of_request.from)) == NULL)
        Py_RETURN_FALSE;
    hops = PyDict_GetItemWithError(first, s_max_forwards);
    if (hops != NULL) {
        Py_ssize_t n;
        const char *p;
        if (!plain_ascii(hops))
            Py_RETURN_FALSE;
        p = ascii(hops, &n);
        if (n > 3 || short_number(p, n) < 1)
            Py_RETURN_FALSE;
    }
    if (args[2] == Py_True && !is_plain_sip_uri(to))
        Py_RETURN_FALSE;
    if (args[1] == Py_True) {
        contacts = SLOT(args[0], of_request.contacts);
        if (contacts != NULL && PyList_CheckExact(contacts)) {
            if (PyList_GET_SIZE(contacts) != 1 || !is_plain_sip_uri(uri_of(PyList_GET_ITEM(contacts, 0))))
                Py_RETURN_FALSE;
        } else if (PyDict_GetItemWithError(first, s_contact) != NULL)
            Py_RETURN_FALSE;
    }
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_TRUE;
}

/* ------------------------------------------------------------------ digest */

#define DIGEST_CHARS 4096
#define DIGEST_NAME_CHARS 16
#define DIGEST_BLANKS 4
#define DIGEST_TOKEN_CHARS 512

static const char *
skip_blanks(const char *p, const char *end)
{
    const char *last = end - p > DIGEST_BLANKS ? p + DIGEST_BLANKS : end;

    while (p < last && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

/* The value of one parameter: where it begins and ends, and what follows. 0: it is none. */
static int
digest_value(const char *p, const char *end, const char **begin, const char **stop, const char **next)
{
    if (p < end && *p == '"') {
        *begin = ++p;
        while (p < end && *p != '"') {
            if (*p == '\\' && (++p == end || *p == '\n'))
                return 0;
            p++;
        }
        if (p >= end)
            return 0;
        *stop = p;
        *next = p + 1;
        return 1;
    }
    *begin = p;
    while (p < end && p - *begin < DIGEST_TOKEN_CHARS && *p != ',' && *p != ';' && *p != '"' &&
           !(kind_of[(unsigned char)*p] & SPACE))
        p++;
    *stop = *next = p;
    return p > *begin;
}

PyDoc_STRVAR(digest_parameters_doc,
             "digest_parameters(value: str) -> dict[str, str] | None\n\n"
             "Parameters of an ASCII digest header value by lower-case name; None: not digest, or one comes twice.\n\n"
             ":raise ValueError: the text is not ASCII.");

static PyObject *
digest_parameters(PyObject *self, PyObject *value)
{
    PyObject *found;
    const char *p, *end;
    Py_ssize_t n, count = 0;
    int i;

    if (!plain_ascii(value))
        return PyErr_Format(PyExc_ValueError, "digest_parameters: an ASCII str is wanted");
    p = ascii(value, &n);
    if (n < 7 || n > DIGEST_CHARS || (p[6] != ' ' && p[6] != '\t'))
        Py_RETURN_NONE;
    for (i = 0; i < 6; i++)
        if (lower(p[i]) != "digest"[i])
            Py_RETURN_NONE;
    end = p + n;
    p += 7;
    found = PyDict_New();
    if (found == NULL)
        return NULL;
    while (p < end) {
        const char *run = p, *begin, *stop, *next;
        PyObject *name, *text;
        int failed;
        while (run < end && ((kind_of[(unsigned char)*run] & (LETTER | DIGIT)) || *run == '-'))
            run++;
        if (run == p) {
            p++;
            continue;
        }
        /* a longer run of such characters can end in a name: so does a regular expression find it */
        if (run - p > DIGEST_NAME_CHARS)
            p = run - DIGEST_NAME_CHARS;
        while (p < run && !(kind_of[(unsigned char)*p] & LETTER))
            p++;
        next = skip_blanks(run, end);
        if (p == run || next == end || *next != '=' ||
            !digest_value(skip_blanks(next + 1, end), end, &begin, &stop, &next)) {
            p = run;
            continue;
        }
        name = new_lower(digest_words, p, run - p);
        text = name == NULL ? NULL : new_word(digest_words, begin, stop - begin);
        failed = text == NULL || PyDict_SetItem(found, name, text) < 0;
        Py_XDECREF(name);
        Py_XDECREF(text);
        if (failed) {
            Py_DECREF(found);
            return NULL;
        }
        if (PyDict_Size(found) != ++count) {
            Py_DECREF(found);
            Py_RETURN_NONE;
        }
        p = next;
    }
    return found;
}

static PyObject *s_username, *s_realm, *s_nonce, *s_uri, *s_response, *s_algorithm, *s_qop, *s_nc, *s_cnonce;
static PyObject *s_md5, *s_sha256, *s_empty;

/* A quoted string without its backslashes. */
static PyObject *
unescaped(PyObject *text)
{
    Py_ssize_t n, i;
    const char *p = ascii(text, &n);
    char *made, *out;
    PyObject *result;

    if (memchr(p, '\\', (size_t)n) == NULL)
        return Py_NewRef(text);
    made = out = PyMem_Malloc((size_t)n);
    if (made == NULL)
        return PyErr_NoMemory();
    for (i = 0; i < n; i++) {
        if (p[i] == '\\' && i + 1 < n)
            i++;
        *out++ = p[i];
    }
    result = new_ascii(made, out - made);
    PyMem_Free(made);
    return result;
}

static PyObject *
canonical_algorithm(PyObject *text)
{
    Py_ssize_t n, i;
    const char *p = ascii(text, &n), *wanted = n == 3 ? "md5" : n == 7 ? "sha-256" : NULL;

    for (i = 0; wanted != NULL && i < n; i++)
        if (lower(p[i]) != wanted[i])
            wanted = NULL;
    return Py_NewRef(wanted == NULL ? text : n == 3 ? s_md5 : s_sha256);
}

/* The number of eight hexadecimal digits; 0: it is none. */
static PyObject *
nonce_count(PyObject *text)
{
    Py_ssize_t n, i;
    const char *p = ascii(text, &n);
    unsigned long number = 0;

    if (n == 8 && all_of(p, n, HEX))
        for (i = 0; i < n; i++)
            number = number << 4 | (unsigned long)(p[i] <= '9' ? p[i] - '0' : lower(p[i]) - 'a' + 10);
    return PyLong_FromUnsignedLong(number);
}

PyDoc_STRVAR(credentials_doc,
             "credentials(value: str) -> Credentials | None\n\n"
             "As mizu.sip.digest.parse_credentials, of an ASCII text.\n\n"
             ":raise ValueError: it is not ASCII.");

static PyObject *
credentials(PyObject *self, PyObject *value)
{
    PyObject *found = digest_parameters(self, value), *made;
    /* what must be there, then what need not */
    PyObject *const keys[] = {s_username, s_realm, s_nonce, s_uri, s_response, s_algorithm, s_qop, s_nc, s_cnonce};
    const Py_ssize_t at[] = {of_credentials.username, of_credentials.realm,     of_credentials.nonce,
                             of_credentials.uri,      of_credentials.response,  of_credentials.algorithm,
                             of_credentials.qop,      of_credentials.nc_text,   of_credentials.cnonce};
    int i;

    if (found == NULL || found == Py_None)
        return found;
    made = new_object(&credentials_class);
    for (i = 0; made != NULL && i < 9; i++) {
        PyObject *text = PyDict_GetItemWithError(found, keys[i]), *kept;
        if (text == NULL && (i < 5 || PyErr_Occurred()))
            kept = NULL;
        else if (text == NULL)
            kept = Py_NewRef(i == 5 ? s_md5 : s_empty);
        else
            kept = i < 2 ? unescaped(text) : i == 5 ? canonical_algorithm(text) : Py_NewRef(text);
        if (kept == NULL)
            Py_CLEAR(made);
        else
            put(made, at[i], kept);
    }
    Py_DECREF(found);
    if (made != NULL) {
        PyObject *count = nonce_count(SLOT(made, of_credentials.nc_text));
        if (count == NULL)
            Py_CLEAR(made);
        else
            put(made, of_credentials.nc, count);
    }
    if (made == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return made;
}

/* MD5 (RFC 1321). */
typedef struct {
    uint32_t state[4];
    uint64_t size;
    unsigned char block[64];
} Md5;

static const uint32_t md5_table[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
static const unsigned char md5_turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static void
md5_block(Md5 *md5)
{
    uint32_t word[16], a = md5->state[0], b = md5->state[1], c = md5->state[2], d = md5->state[3];
    int i;

    for (i = 0; i < 16; i++)
        word[i] = (uint32_t)md5->block[4 * i] | (uint32_t)md5->block[4 * i + 1] << 8 |
                  (uint32_t)md5->block[4 * i + 2] << 16 | (uint32_t)md5->block[4 * i + 3] << 24;
    for (i = 0; i < 64; i++) {
        uint32_t mixed, turned;
        int which, turn = md5_turns[i >> 4][i & 3];
        if (i < 16) {
            mixed = (b & c) | (~b & d);
            which = i;
        } else if (i < 32) {
            mixed = (d & b) | (~d & c);
            which = (5 * i + 1) & 15;
        } else if (i < 48) {
            mixed = b ^ c ^ d;
            which = (3 * i + 5) & 15;
        } else {
            mixed = c ^ (b | ~d);
            which = (7 * i) & 15;
        }
        turned = a + mixed + md5_table[i] + word[which];
        a = d;
        d = c;
        c = b;
        b += turned << turn | turned >> (32 - turn);
    }
    md5->state[0] += a;
    md5->state[1] += b;
    md5->state[2] += c;
    md5->state[3] += d;
}

static void
md5_begin(Md5 *md5)
{
    md5->state[0] = 0x67452301;
    md5->state[1] = 0xefcdab89;
    md5->state[2] = 0x98badcfe;
    md5->state[3] = 0x10325476;
    md5->size = 0;
}

static void
md5_add(Md5 *md5, const char *p, Py_ssize_t n)
{
    while (n > 0) {
        Py_ssize_t at = (Py_ssize_t)(md5->size & 63), piece = n < 64 - at ? n : 64 - at;
        memcpy(md5->block + at, p, (size_t)piece);
        md5->size += (uint64_t)piece;
        p += piece;
        n -= piece;
        if ((md5->size & 63) == 0)
            md5_block(md5);
    }
}

static void
md5_hex(Md5 *md5, char out[32])
{
    static const char padding[64] = {(char)0x80};
    uint64_t bits = md5->size * 8;
    char size[8];
    int i;

    md5_add(md5, padding, 1 + (Py_ssize_t)((119 - (md5->size & 63)) & 63));
    for (i = 0; i < 8; i++)
        size[i] = (char)(unsigned char)(bits >> (8 * i));
    md5_add(md5, size, 8);
    for (i = 0; i < 16; i++) {
        unsigned byte = md5->state[i >> 2] >> (8 * (i & 3)) & 255;
        out[2 * i] = "0123456789abcdef"[byte >> 4];
        out[2 * i + 1] = "0123456789abcdef"[byte & 15];
    }
}

static void
md5_text(Md5 *md5, PyObject *text)
{
    Py_ssize_t n;
    const char *p = ascii(text, &n);

    md5_add(md5, p, n);
}

PyDoc_STRVAR(check_md5_doc,
             "check_md5(credentials: Credentials, method: str, ha1_hex: str) -> bool | None\n\n"
             "As mizu.sip.digest.check, for MD5 and ASCII; None: it is something else. The time that it takes does not\n"
             "depend on where the two differ.");

static PyObject *
check_md5(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *nonce, *nc_text, *cnonce, *qop, *uri, *response, *algorithm;
    char ha2[32], wanted[32];
    const char *given;
    unsigned differ = 0;
    Py_ssize_t n;
    Md5 md5;
    int i;

    if (nargs != 3 || credentials_class.type == NULL || !Py_IS_TYPE(args[0], credentials_class.type))
        Py_RETURN_NONE;
    nonce = SLOT(args[0], of_credentials.nonce);
    nc_text = SLOT(args[0], of_credentials.nc_text);
    cnonce = SLOT(args[0], of_credentials.cnonce);
    qop = SLOT(args[0], of_credentials.qop);
    uri = SLOT(args[0], of_credentials.uri);
    response = SLOT(args[0], of_credentials.response);
    algorithm = SLOT(args[0], of_credentials.algorithm);
    if (nonce == NULL || nc_text == NULL || cnonce == NULL || qop == NULL || uri == NULL || response == NULL ||
        algorithm == NULL || !plain_ascii(nonce) || !plain_ascii(nc_text) || !plain_ascii(cnonce) ||
        !plain_ascii(qop) || !plain_ascii(uri) || !plain_ascii(response) || !plain_ascii(algorithm) ||
        !plain_ascii(args[1]) || !plain_ascii(args[2]))
        Py_RETURN_NONE;
    given = ascii(algorithm, &n);
    if (!is_text(given, n, "MD5"))
        Py_RETURN_NONE;
    md5_begin(&md5);
    md5_text(&md5, args[1]);
    md5_add(&md5, ":", 1);
    md5_text(&md5, uri);
    md5_hex(&md5, ha2);
    md5_begin(&md5);
    md5_text(&md5, args[2]);
    md5_add(&md5, ":", 1);
    md5_text(&md5, nonce);
    if (PyUnicode_GET_LENGTH(qop) > 0) {
        md5_add(&md5, ":", 1);
        md5_text(&md5, nc_text);
        md5_add(&md5, ":", 1);
        md5_text(&md5, cnonce);
        md5_add(&md5, ":", 1);
        md5_text(&md5, qop);
    }
    md5_add(&md5, ":", 1);
    md5_add(&md5, ha2, 32);
    md5_hex(&md5, wanted);
    given = ascii(response, &n);
    if (n != 32)
        Py_RETURN_FALSE;
    for (i = 0; i < 32; i++)
        differ |= (unsigned)(unsigned char)wanted[i] ^ (unsigned)(unsigned char)lower(given[i]);
    return PyBool_FromLong(differ == 0);
}

/* ------------------------------------------------------------------ the module */

static PyMethodDef functions[] = {
    {"address", address, METH_O, address_doc},
    {"answer", (PyCFunction)(void (*)(void))answer, METH_FASTCALL, answer_doc},
    {"bind", bind, METH_VARARGS, bind_doc},
    {"bind_names", bind_names, METH_VARARGS, bind_names_doc},
    {"check_md5", (PyCFunction)(void (*)(void))check_md5, METH_FASTCALL, check_md5_doc},
    {"credentials", credentials, METH_O, credentials_doc},
    {"digest_parameters", digest_parameters, METH_O, digest_parameters_doc},
    {"forward", (PyCFunction)(void (*)(void))forward, METH_FASTCALL, forward_doc},
    {"parse_plain", (PyCFunction)(void (*)(void))parse_plain, METH_FASTCALL, parse_plain_doc},
    {"plain_sip_uri", plain_sip_uri, METH_O, plain_sip_uri_doc},
    {"stamp", (PyCFunction)(void (*)(void))stamp, METH_FASTCALL, stamp_doc},
    {"to_bytes", (PyCFunction)(void (*)(void))to_bytes, METH_FASTCALL, to_bytes_doc},
    {"usual_headers", (PyCFunction)(void (*)(void))usual_headers, METH_FASTCALL, usual_headers_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "mizu._messages", "What each SIP message costs, compiled.", -1, functions, NULL, NULL, NULL, NULL,
};

static int
intern_all(void)
{
    static const struct {
        PyObject **word;
        const char *text;
    } wanted[] = {
        {&s_via, "via"},
        {&s_from, "from"},
        {&s_to, "to"},
        {&s_call_id, "call-id"},
        {&s_cseq, "cseq"},
        {&s_content_length, "content-length"},
        {&s_contact, "contact"},
        {&s_max_forwards, "max-forwards"},
        {&s_record_route, "record-route"},
        {&s_rport, "rport"},
        {&s_received, "received"},
        {&s_tag, "tag"},
        {&s_username, "username"},
        {&s_realm, "realm"},
        {&s_nonce, "nonce"},
        {&s_uri, "uri"},
        {&s_response, "response"},
        {&s_algorithm, "algorithm"},
        {&s_qop, "qop"},
        {&s_nc, "nc"},
        {&s_cnonce, "cnonce"},
        {&s_md5, "MD5"},
        {&s_sha256, "SHA-256"},
        {&s_empty, ""},
        {&proto_words[0], "UDP"},
        {&proto_words[1], "TCP"},
        {&proto_words[2], "TLS"},
    };
    size_t i;

    for (i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (*wanted[i].word == NULL && (*wanted[i].word = PyUnicode_InternFromString(wanted[i].text)) == NULL)
            return -1;
    if (digest_words == NULL)
        digest_words = Py_BuildValue("(ssssssssssss)", "username", "realm", "nonce", "uri", "response",
                                     "algorithm", "cnonce", "nc", "qop", "opaque", "MD5", "auth");
    return digest_words == NULL ? -1 : 0;
}

PyMODINIT_FUNC
PyInit__messages(void)
{
    fill_characters();
    if (intern_all() < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddObject(module, "MADE_OF", PyLong_FromUnsignedLong(MADE_OF)) < 0)
        Py_CLEAR(module);
    return module;
}
