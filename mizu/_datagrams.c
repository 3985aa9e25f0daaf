/*
 * Many datagrams with one system call: recvmmsg and sendmmsg, on a socket that does not block.
 *
 * Optional: without it a datagram is taken and sent at a time. See mizu/native.py.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 32
#define DATAGRAM_BYTES 65536
/* Not a power of two: the beginnings of all of them would fall on the same few lines of the cache. */
#define STRIDE (DATAGRAM_BYTES + 4096 + 192)
#define HOSTS 512 /* addresses whose text is kept */

typedef union {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
} Address;

typedef union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(struct timespec))];
} Control;

/* Whoever receives takes them away until all is copied: making objects may run the collector, that any Python
 * code, and that may receive too. */
static char *buffers;
static struct {
    uint32_t address;
    PyObject *text;
} hosts[HOSTS];

static PyObject *
host_of(const Address *from)
{
    char text[INET6_ADDRSTRLEN];
    unsigned at;

    if (from->any.sa_family == AF_INET6) {
        if (inet_ntop(AF_INET6, &from->six.sin6_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        return PyUnicode_FromString(text);
    }
    at = ntohl(from->four.sin_addr.s_addr);
    at = (at ^ (at >> 9) ^ (at >> 18)) % HOSTS;
    if (hosts[at].text == NULL || hosts[at].address != from->four.sin_addr.s_addr) {
        PyObject *made;
        if (inet_ntop(AF_INET, &from->four.sin_addr, text, sizeof text) == NULL)
            return PyErr_SetFromErrno(PyExc_OSError);
        made = PyUnicode_FromString(text);
        if (made == NULL)
            return NULL;
        Py_XSETREF(hosts[at].text, made);
        hosts[at].address = from->four.sin_addr.s_addr;
    }
    return Py_NewRef(hosts[at].text);
}

/* (data, (host, port)) */
static PyObject *
received(const char *data, unsigned size, const Address *from)
{
    PyObject *whole = PyTuple_New(2), *where = PyTuple_New(2), *bytes, *host, *port;

    bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    host = bytes == NULL ? NULL : host_of(from);
    port = PyLong_FromLong(ntohs(from->any.sa_family == AF_INET6 ? from->six.sin6_port : from->four.sin_port));
    if (whole == NULL || where == NULL || bytes == NULL || host == NULL || port == NULL) {
        Py_XDECREF(whole);
        Py_XDECREF(where);
        Py_XDECREF(bytes);
        Py_XDECREF(host);
        Py_XDECREF(port);
        return NULL;
    }
    PyTuple_SET_ITEM(where, 0, host);
    PyTuple_SET_ITEM(where, 1, port);
    PyTuple_SET_ITEM(whole, 0, bytes);
    PyTuple_SET_ITEM(whole, 1, where);
    return whole;
}

/* When the system took a datagram in, nanoseconds of wall time; 0: it does not say (SO_TIMESTAMPNS). */
static int64_t
came_ns(struct msghdr *header)
{
    struct cmsghdr *part;

    for (part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS &&
            part->cmsg_len >= CMSG_LEN(sizeof(struct timespec))) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(part), sizeof at);
            return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
        }
    }
    return 0;
}

/* Does it begin something? Its sender repeats it when he hears nothing (RFC 3261 17.1). */
static int
begins_something(const char *data, unsigned size)
{
    static const char *const methods[] = {"REGISTER ", "INVITE ", "OPTIONS ", "MESSAGE ", "SUBSCRIBE ", "PUBLISH "};
    size_t i;

    for (i = 0; i < sizeof methods / sizeof *methods; i++) {
        size_t length = strlen(methods[i]);
        if (size >= length && memcmp(data, methods[i], length) == 0)
            return 1;
    }
    return 0;
}

static void
give_back(char *mine)
{
    if (buffers == NULL)
        buffers = mine;
    else
        PyMem_RawFree(mine);
}

PyDoc_STRVAR(receive_doc,
             "receive(fd: int, wait_ns: int) -> tuple[list[tuple[bytes, tuple[str, int]]], int]\n\n"
             "What waits at a socket, BATCH datagrams at most, each with its sender.\n\n"
             ":param wait_ns: requests that begin something and have waited longer are thrown away. That needs\n"
             "    SO_TIMESTAMPNS of the socket; 0: none are.\n"
             ":return: the datagrams, and how many were thrown away; ([], 0): nothing waits.\n"
             ":raise OSError: as recvfrom.");

static PyObject *
receive(PyObject *self, PyObject *args)
{
    struct mmsghdr headers[BATCH];
    struct iovec parts[BATCH];
    Address from[BATCH];
    Control controls[BATCH];
    int fd, count, i;
    char *mine;
    long stale = 0;
    long long wait_ns;
    int64_t oldest_ns = 0;
    PyObject *all;

    if (!PyArg_ParseTuple(args, "iL", &fd, &wait_ns))
        return NULL;
    mine = buffers;
    buffers = NULL;
    if (mine == NULL && (mine = PyMem_RawMalloc((size_t)BATCH * STRIDE)) == NULL)
        return PyErr_NoMemory();
    memset(headers, 0, sizeof headers);
    for (i = 0; i < BATCH; i++) {
        parts[i].iov_base = mine + (size_t)i * STRIDE;
        parts[i].iov_len = DATAGRAM_BYTES;
        from[i].any.sa_family = AF_UNSPEC;
        headers[i].msg_hdr.msg_name = &from[i];
        headers[i].msg_hdr.msg_namelen = sizeof from[i];
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if (wait_ns > 0) {
            headers[i].msg_hdr.msg_control = &controls[i];
            headers[i].msg_hdr.msg_controllen = sizeof controls[i];
        }
    }
    do {
        count = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL);
    } while (count < 0 && errno == EINTR);
    if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        PyErr_SetFromErrno(PyExc_OSError);
        give_back(mine);
        return NULL;
    }
    if (wait_ns > 0 && count > 0) {
        struct timespec now;
        if (clock_gettime(CLOCK_REALTIME, &now) == 0)
            oldest_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - wait_ns;
    }
    all = PyList_New(0);
    for (i = 0; all != NULL && i < count; i++) {
        PyObject *one;
        int family = from[i].any.sa_family;
        if (family != AF_INET && family != AF_INET6)
            continue;
        if (oldest_ns > 0) {
            int64_t at_ns = came_ns(&headers[i].msg_hdr);
            if (at_ns > 0 && at_ns < oldest_ns && begins_something(parts[i].iov_base, headers[i].msg_len)) {
                stale++;
                continue;
            }
        }
        one = received(parts[i].iov_base, headers[i].msg_len, &from[i]);
        if (one == NULL || PyList_Append(all, one) < 0)
            Py_CLEAR(all);
        Py_XDECREF(one);
    }
    give_back(mine);
    return all == NULL ? NULL : Py_BuildValue("(Nl)", all, stale);
}

/* The address to send to. 0, or an errno. */
static int
address_of(PyObject *where, int family, Address *to, socklen_t *size)
{
    PyObject *host, *number;
    const char *text;
    Py_ssize_t length;
    long port;

    memset(to, 0, sizeof *to);
    if (!PyTuple_Check(where) || PyTuple_GET_SIZE(where) < 2)
        return EINVAL;
    host = PyTuple_GET_ITEM(where, 0);
    number = PyTuple_GET_ITEM(where, 1);
    if (!PyUnicode_Check(host) || !PyLong_Check(number))
        return EINVAL;
    port = PyLong_AsLong(number);
    text = PyUnicode_AsUTF8AndSize(host, &length);
    if (text == NULL || (port == -1 && PyErr_Occurred())) {
        PyErr_Clear();
        return EINVAL;
    }
    if (port < 0 || port > 65535 || strlen(text) != (size_t)length)
        return EINVAL;
    to->any.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        to->six.sin6_port = htons((uint16_t)port);
        *size = sizeof to->six;
        return inet_pton(AF_INET6, text, &to->six.sin6_addr) == 1 ? 0 : EAFNOSUPPORT;
    }
    to->four.sin_port = htons((uint16_t)port);
    *size = sizeof to->four;
    return inet_pton(AF_INET, text, &to->four.sin_addr) == 1 ? 0 : EAFNOSUPPORT;
}

/* Note that the message of that index was refused. */
static int
note(PyObject *failed, Py_ssize_t index, int number)
{
    PyObject *pair = Py_BuildValue("(ni)", index, number);
    int result = pair == NULL ? -1 : PyList_Append(failed, pair);

    Py_XDECREF(pair);
    return result;
}

/* Up to BATCH messages that have an address. 0, or -1 with an exception. */
static int
send_some(int fd, struct mmsghdr *headers, const Py_ssize_t *index, unsigned count, PyObject *failed)
{
    unsigned done = 0;

    while (done < count) {
        int sent = sendmmsg(fd, headers + done, count - done, MSG_DONTWAIT);
        if (sent > 0) {
            done += (unsigned)sent;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        /* it is the first one that was refused; those after it may still go */
        if (note(failed, index[done], sent < 0 ? errno : EIO) < 0)
            return -1;
        done++;
    }
    return 0;
}

PyDoc_STRVAR(send_doc,
             "send(fd: int, family: int, messages: list[tuple[bytes, tuple[str, int], object]])\n"
             "    -> list[tuple[int, int]]\n\n"
             "Send each to its address, in order. Never waits.\n\n"
             ":return: index and errno of each that the system refused.");

static PyObject *
send_all(PyObject *self, PyObject *args)
{
    struct mmsghdr headers[BATCH];
    struct iovec parts[BATCH];
    Address to[BATCH];
    Py_ssize_t index[BATCH], i;
    PyObject *messages, *failed;
    int fd, family;
    unsigned count = 0;

    if (!PyArg_ParseTuple(args, "iiO!", &fd, &family, &PyList_Type, &messages))
        return NULL;
    messages = PyList_AsTuple(messages); /* whatever becomes of the list, the bytes stay where they are */
    failed = messages == NULL ? NULL : PyList_New(0);
    if (failed == NULL) {
        Py_XDECREF(messages);
        return NULL;
    }
    memset(headers, 0, sizeof headers);
    for (i = 0; i < PyTuple_GET_SIZE(messages); i++) {
        PyObject *message = PyTuple_GET_ITEM(messages, i), *data;
        socklen_t size = 0;
        int wrong;
        if (!PyTuple_Check(message) || PyTuple_GET_SIZE(message) < 2 || !PyBytes_Check(PyTuple_GET_ITEM(message, 0))) {
            PyErr_SetString(PyExc_TypeError, "send: (bytes, (host, port), ...) are wanted");
            goto failed;
        }
        data = PyTuple_GET_ITEM(message, 0);
        wrong = address_of(PyTuple_GET_ITEM(message, 1), family, &to[count], &size);
        if (wrong != 0) {
            if (note(failed, i, wrong) < 0)
                goto failed;
            continue;
        }
        parts[count].iov_base = PyBytes_AS_STRING(data);
        parts[count].iov_len = (size_t)PyBytes_GET_SIZE(data);
        headers[count].msg_hdr.msg_name = &to[count];
        headers[count].msg_hdr.msg_namelen = size;
        headers[count].msg_hdr.msg_iov = &parts[count];
        headers[count].msg_hdr.msg_iovlen = 1;
        index[count++] = i;
        if (count == BATCH) {
            if (send_some(fd, headers, index, count, failed) < 0)
                goto failed;
            count = 0;
        }
    }
    if (send_some(fd, headers, index, count, failed) < 0)
        goto failed;
    Py_DECREF(messages);
    return failed;
failed:
    Py_DECREF(messages);
    Py_DECREF(failed);
    return NULL;
}

static PyMethodDef functions[] = {
    {"receive", receive, METH_VARARGS, receive_doc},
    {"send", send_all, METH_VARARGS, send_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "mizu._datagrams", "Many datagrams with one system call.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__datagrams(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && (PyModule_AddObject(module, "MADE_OF", PyLong_FromUnsignedLong(MADE_OF)) < 0 ||
                           PyModule_AddIntConstant(module, "BATCH", BATCH) < 0 ||
                           PyModule_AddIntConstant(module, "SO_TIMESTAMPNS", SO_TIMESTAMPNS) < 0))
        Py_CLEAR(module);
    return module;
}
